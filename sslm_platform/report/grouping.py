"""A recommended grouping, and what became of it: pure functions of records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sslm_platform.errors import Problem, RunError, suggest
from sslm_platform.report.predictions import Pair, PredictedMatrix
from sslm_platform.report.protocols import leaves_out
from sslm_platform.report.records import SCHEMA_VERSION, CellRecord, PlannedCell, TransferPlan
from sslm_platform.statistics import percentile_interval

JOINT = "joint"


class GroupPlan(BaseModel):
    """Which tasks to train together, and what that should do; written beside the spec that tries it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = SCHEMA_VERSION
    by: str = Field(description="estimator, or measured protocol, whose affinities were used")
    signed: bool = Field(description="0 means no effect; else affinities are standard scores of each target")
    method: Literal["exact", "local search"]
    budget: int = Field(description="most groups")
    groups: tuple[tuple[str, ...], ...]
    serves: dict[str, int] = Field(description="task to the number of the group that serves it")
    predicted: dict[str, float] = Field(description="task to its affinity in that group; 0 alone")
    unknown: tuple[Pair, ...] = Field(default=(), description="pairs without a value; taken as no effect")

    @property
    def value(self) -> float:
        """Mean predicted affinity of the tasks."""
        return float(np.mean(list(self.predicted.values())))


@dataclass(frozen=True, slots=True)
class Affinities:
    """What each task does for each other, affinity_TT[i, j] of i on j; unknown pairs are 0."""

    by: str
    signed: bool
    tasks: tuple[str, ...]
    affinity_TT: np.ndarray
    unknown: tuple[Pair, ...]


def affinities(
    by: str,
    matrices: Mapping[str, PredictedMatrix],
    plan: TransferPlan | None,
    cells: Mapping[str, CellRecord],
    tasks: Sequence[str],
) -> Affinities:
    """Return the affinities of single tasks that an estimator predicts, or that a protocol measured as gains.

    Values without a zero that means no effect become standard scores of each target's sources: a partner
    helps if it is better than the mean one.

    Args:
        by: an estimator's name, or a protocol such as ``pairwise/zero_shot``.
        matrices: predictions by estimator.
        plan: of the measured cells, where there are some.
        cells: records by id.
        tasks: identities of the tasks to group.

    Raises:
        RunError: nothing was predicted or measured by that name.
    """
    measured = _gains(plan, cells) if plan else {}
    if by in matrices:
        values, signed = dict(matrices[by].values), matrices[by].signed
    elif by in measured:
        values, signed = measured[by], True
    else:
        known = suggest(by, [*matrices, *measured])
        raise RunError(Problem(f"--by {by}", f"neither predicted nor measured in this run{known}"))
    found_TT = np.array([[values.get((i, j), np.nan) if i != j else np.nan for j in tasks] for i in tasks])
    if not signed:
        found_TT = _standardised(found_TT)
    pairs = [(i, j) for i in range(len(tasks)) for j in range(len(tasks)) if i != j]
    unknown = tuple((tasks[i], tasks[j]) for i, j in pairs if np.isnan(found_TT[i, j]))
    if len(unknown) == len(pairs):
        others = {name: matrix.values for name, matrix in matrices.items()} | measured
        useful = [name for name, found in others.items() if any(i != j for i, j in found)]
        instead = f"; give one of {', '.join(useful)}" if useful else ""
        raise RunError(Problem(f"--by {by}", f"has no value of any single task on another{instead}"))
    return Affinities(by, signed, tuple(tasks), np.nan_to_num(found_TT, nan=0.0), unknown)


def _standardised(values_TT: np.ndarray) -> np.ndarray:
    result_TT = np.full_like(values_TT, np.nan)
    for target, values_T in enumerate(values_TT.T):
        known = ~np.isnan(values_T)
        spread = values_T[known].std() if known.any() else 0.0
        if spread > 0:
            result_TT[known, target] = (values_T[known] - values_T[known].mean()) / spread
        else:
            result_TT[known, target] = 0.0
    return result_TT


def _gains(plan: TransferPlan, cells: Mapping[str, CellRecord]) -> dict[str, dict[Pair, float]]:
    """Return each protocol's gains of one task on another, over its first baseline.

    Of different metrics they are shares of the way from the baseline to a perfect score: only these add up.
    """
    metrics = {record.metric for record in cells.values()}
    gains: dict[str, dict[Pair, list[float]]] = {}
    for planned in plan.cells:
        partner = planned.key.row_stages[0]
        if planned.is_baseline or len(partner) != 1 or partner[0] == planned.key.target:
            continue
        record = _done(cells, planned.id)
        baseline = _done(cells, next(iter(planned.baselines.values()), ""))
        if record is None or baseline is None or len(planned.key.row_stages) > 1:
            continue
        pairs = gains.setdefault(planned.key.protocol, {})
        gain = _value(record) - _value(baseline)
        if leaves_out(planned.key.protocol):
            gain = -gain  # what is worse without a task was helped by it
        if len(metrics) > 1:
            way = abs(record.best - _value(baseline) * (1.0 if record.higher_is_better else -1.0))
            gain = gain / way if way else 0.0
        pairs.setdefault((partner[0], planned.key.target), []).append(gain)
    return {
        name: {pair: float(np.mean(values)) for pair, values in pairs.items()}
        for name, pairs in gains.items()
    }


def _done(cells: Mapping[str, CellRecord], name: str) -> CellRecord | None:
    record = cells.get(name)
    return record if record is not None and record.status == "done" else None


def _value(record: CellRecord) -> float:
    """Return the score in the metric's good direction."""
    return record.scores[record.metric].value * (1.0 if record.higher_is_better else -1.0)


@dataclass(frozen=True, slots=True)
class Gain:
    """A difference of two measured scores with its 95 % interval over test examples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task.

    Attributes:
        predicted: affinity in its group.
        score: measured, of the group's model.
        over_alone: gain over a model of this task alone; None where the group is the task alone.
        over_joint: gain over the one model of all tasks.
        verdict: whether the gain over the task alone has the predicted sign.
    """

    task: str
    group: tuple[str, ...]
    predicted: float
    metric: str
    score: float
    over_alone: Gain | None
    over_joint: Gain | None
    verdict: Literal["as predicted", "refuted", "undecided", "alone"]


def outcomes(groups: GroupPlan, plan: TransferPlan, cells: Mapping[str, CellRecord]) -> list[Outcome]:
    """Compare a grouping's predictions with a run of its spec.

    Raises:
        RunError: the run has not measured a task in its group, or alone.
    """
    return [_outcome(groups, task, plan, cells) for task in sorted(groups.serves)]


def _outcome(groups: GroupPlan, task: str, plan: TransferPlan, cells: Mapping[str, CellRecord]) -> Outcome:
    group, predicted = groups.groups[groups.serves[task]], groups.predicted[task]
    served = _measured(plan, cells, group, task)
    over_alone = _gain(served, _measured(plan, cells, (task,), task)) if len(group) > 1 else None
    joint = _records(plan, cells, lambda key: key.key.source == JOINT and key.key.target == task)
    return Outcome(
        task,
        group,
        predicted,
        served[0].metric,
        float(np.mean([record.scores[record.metric].value for record in served])),
        over_alone,
        _gain(served, joint) if joint else None,
        _verdict(predicted, over_alone),
    )


def _verdict(predicted: float, gain: Gain | None) -> Literal["as predicted", "refuted", "undecided", "alone"]:
    if gain is None:
        return "alone"
    if not (gain.low > 0 or gain.high < 0):
        return "undecided"
    return "as predicted" if gain.value * predicted > 0 else "refuted"


def _measured(
    plan: TransferPlan, cells: Mapping[str, CellRecord], group: Sequence[str], task: str
) -> list[CellRecord]:
    def is_it(planned: PlannedCell) -> bool:
        key = planned.key
        return key.source != JOINT and set(key.source_tasks) == set(group) and key.target == task

    found = _records(plan, cells, is_it)
    if not found:
        what = f"has no measured cell full/zero_shot: {' + '.join(group)} → {task}; run the grouping's spec"
        raise RunError(Problem("the run", what))
    return found


def _records(
    plan: TransferPlan, cells: Mapping[str, CellRecord], is_it: Callable[[PlannedCell], bool]
) -> list[CellRecord]:
    chosen = [c for c in plan.cells if c.key.protocol == "full/zero_shot" and is_it(c)]
    return [record for planned in chosen if (record := _done(cells, planned.id))]


def _gain(records: Sequence[CellRecord], others: Sequence[CellRecord]) -> Gain:
    """Return the difference of mean scores over seeds; resamples of one task's test examples are paired."""
    value = float(np.mean([_value(r) for r in records]) - np.mean([_value(r) for r in others]))
    sign = 1.0 if records[0].higher_is_better else -1.0
    resamples = [sign * np.mean([r.resamples for r in group], axis=0) for group in (records, others)]
    low, high = percentile_interval(resamples[0] - resamples[1])
    return Gain(value, low, high)
