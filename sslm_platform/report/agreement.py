"""Predicted against measured: how well an estimator ranks the sources of each target, with intervals.

A pure function of records. Only sources that were not trained on the target count: that a task's own data
help most is no prediction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from sslm_platform.report.predictions import Pair, PredictedMatrix
from sslm_platform.report.ranking import kendall, recall, regret, spearman
from sslm_platform.report.records import CellRecord, PlannedCell, TransferPlan
from sslm_platform.statistics import percentile_interval

TOP = (1, 3)
STAGES = ("head", "full", "pairwise")  # of measured cells whose rows are the predictions' sources
MIN_SOURCES = 2

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over targets, with its 95 % interval; None where nothing could be resampled."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One pair: what was predicted, and the score that was measured (in the metric's good direction)."""

    source: str
    target: str
    predicted: float
    measured: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """One estimator against one protocol.

    Attributes:
        kendall: tau-b; None where no target has two sources in an order.
        regret: by k; 0 is the best choice of a source and 1 the worst.
        recall: by k; only targets with more than k sources count.
        targets: those that could be ranked.
        num_sources: fewest and most sources of a target.
    """

    estimator: str
    protocol: str
    kendall: Figure | None
    spearman: Figure | None
    regret: Mapping[int, Figure]
    recall: Mapping[int, Figure]
    targets: tuple[str, ...]
    num_sources: tuple[int, int]
    points: tuple[Point, ...] = field(repr=False, default=())


@dataclass(frozen=True, slots=True)
class _Target:
    """One target's sources: predicted values, measured ones, and their paired resamples."""

    name: str
    predicted_S: np.ndarray
    measured_S: np.ndarray
    resamples_RS: np.ndarray


def agreements(
    matrices: Iterable[PredictedMatrix], plan: TransferPlan, cells: Mapping[str, CellRecord]
) -> list[Agreement]:
    """Compare every estimator with every measured protocol, best Kendall tau first in each.

    An interval resamples targets, the measured test examples, and seeds where there are several. With fewer
    than about five targets it is too narrow, as any bootstrap over so few.
    """
    found = []
    for protocol, measured in measured_scores(plan, cells).items():
        made = [_agreement(matrix, protocol, measured) for matrix in matrices]
        made = [agreement for agreement in made if agreement.targets]
        found += sorted(made, key=lambda a: -(a.kendall.value if a.kendall else -2.0))
    return found


@dataclass(frozen=True, slots=True)
class MeasuredScore:
    """A pair's score in the metric's good direction, mean over seeds; resamples_R pair with its target's."""

    value: float
    resamples_R: np.ndarray


def measured_scores(
    plan: TransferPlan, cells: Mapping[str, CellRecord]
) -> dict[str, dict[Pair, MeasuredScore]]:
    """Return, by protocol, the measured pairs of a source and a target that it was not trained on."""
    groups: dict[str, dict[Pair, list[CellRecord]]] = defaultdict(lambda: defaultdict(list))
    for planned in plan.cells:
        key, record = planned.key, cells.get(planned.id)
        if planned.is_baseline or record is None or record.status != "done" or not _is_apart(planned):
            continue
        groups[key.protocol][key.source, key.target].append(record)
    return {
        protocol: {pair: _over_seeds(records) for pair, records in pairs.items()}
        for protocol, pairs in groups.items()
    }


def _is_apart(planned: PlannedCell) -> bool:
    key = planned.key
    if key.source_stage not in STAGES:
        return False
    rows = key.row[0] if key.row else key.source_tasks  # of pairwise, the partner alone
    return key.target not in rows


def _over_seeds(records: Sequence[CellRecord]) -> MeasuredScore:
    sign = 1.0 if records[0].higher_is_better else -1.0
    value = sign * float(np.mean([record.scores[record.metric].value for record in records]))
    lengths = {len(record.resamples) for record in records}
    if lengths == {0} or len(lengths) > 1:
        return MeasuredScore(value, np.empty(0))
    resamples_CR = sign * np.array([record.resamples for record in records])
    num = len(records)
    # the same draws for all pairs: a seed moves the order of examples and the subsample of all of them
    drawn_RC = np.random.default_rng(0).integers(num, size=(resamples_CR.shape[1], num))
    return MeasuredScore(value, np.take_along_axis(resamples_CR.T, drawn_RC, axis=1).mean(axis=1))


def _agreement(matrix: PredictedMatrix, protocol: str, measured: Mapping[Pair, MeasuredScore]) -> Agreement:
    shared = {pair: score for pair, score in measured.items() if pair in matrix.values}
    by_target: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(shared):
        by_target[pair[1]].append(pair)
    targets = [
        _target(name, pairs, matrix, shared) for name, pairs in by_target.items() if len(pairs) >= MIN_SOURCES
    ]
    targets = [target for target in targets if np.ptp(target.measured_S) > 0]
    sizes = [len(target.measured_S) for target in targets]
    counts = [k for k in TOP if any(size > k for size in sizes)]
    return Agreement(
        matrix.estimator,
        protocol,
        _figure(targets, kendall, (-1.0, 1.0)),
        _figure(targets, spearman, (-1.0, 1.0)),
        {k: f for k in counts if (f := _figure(_larger(targets, k), partial(regret, k=k), (0.0, 1.0)))},
        {k: f for k in counts if (f := _figure(_larger(targets, k), partial(recall, k=k), (0.0, 1.0)))},
        tuple(target.name for target in targets),
        (min(sizes, default=0), max(sizes, default=0)),
        tuple(Point(*pair, matrix.values[pair], score.value) for pair, score in sorted(shared.items())),
    )


def _larger(targets: Sequence[_Target], k: int) -> list[_Target]:
    return [target for target in targets if len(target.measured_S) > k]


def _target(
    name: str, pairs: Sequence[Pair], matrix: PredictedMatrix, measured: Mapping[Pair, MeasuredScore]
) -> _Target:
    resamples = [measured[pair].resamples_R for pair in pairs]
    paired = len({len(resamples_R) for resamples_R in resamples}) == 1
    return _Target(
        name,
        np.array([matrix.values[pair] for pair in pairs]),
        np.array([measured[pair].value for pair in pairs]),
        np.stack(resamples, axis=1) if paired else np.empty((0, len(pairs))),
    )


def _figure(targets: Sequence[_Target], statistic: Statistic, bounds: tuple[float, float]) -> Figure | None:
    """Average a statistic over targets.

    Resampled rankings are noisier than the measured one, which pulls all of them towards no agreement: the
    interval is the value plus the resamples' deviations from their own mean.
    """
    if not targets:
        return None
    values_T = np.array([_filled(statistic(t.predicted_S, t.measured_S[None]))[0] for t in targets])
    value = float(values_T.mean())
    lengths = {len(target.resamples_RS) for target in targets}
    if len(lengths) > 1 or 0 in lengths:
        return Figure(value)
    values_RT = np.stack([_filled(statistic(t.predicted_S, t.resamples_RS)) for t in targets], axis=1)
    num_resamples, num_targets = values_RT.shape
    drawn_RT = np.random.default_rng(0).integers(num_targets, size=(num_resamples, num_targets))
    means_R = np.take_along_axis(values_RT, drawn_RT, axis=1).mean(axis=1)
    low, high = percentile_interval(np.clip(value + means_R - means_R.mean(), *bounds))
    return Figure(value, low, high)


def _filled(values_R: np.ndarray) -> np.ndarray:
    """A prediction, or a resample, without any order agrees with nothing."""
    return np.nan_to_num(values_R, nan=0.0)
