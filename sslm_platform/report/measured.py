"""Records of one (source, target) pair as a sample: values by seed, with paired resamples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from sslm_platform.report.places import State, Value
from sslm_platform.report.records import CellRecord, PlannedCell, TransferPlan
from sslm_platform.statistics import Sample, combine

Records = Mapping[str, CellRecord]


@dataclass(frozen=True, slots=True)
class Pair:
    """What was measured of one source on one target; ``baselines`` are mean scores over seeds."""

    target: str
    records: tuple[CellRecord, ...]
    sample: Sample
    score: float
    baselines: Mapping[str, float]


class Reader:
    """Makes samples of records.

    Args:
        plan: all planned cells.
        cells: the records that exist, by id.
        value: what to measure.
        baseline: the baseline of a gain; for ``normalised`` and ``gap``, what counts as 0.
    """

    def __init__(self, plan: TransferPlan, cells: Records, value: Value, baseline: str) -> None:
        self.cells = cells
        self.value = value
        self.baseline = baseline
        asked_last = sorted(plan.cells, key=lambda cell: not cell.is_baseline)  # it replaces a baseline
        self._in_domain = {
            (planned.key.protocol, planned.key.target, planned.key.seed, planned.key.draw): planned.id
            for planned in asked_last
            if planned.key.source_tasks == (planned.key.target,)
        }
        self._resamples: dict[str, np.ndarray] = {}

    def pair(self, planned: Sequence[PlannedCell]) -> tuple[Pair | None, Counter[State]]:
        """Read one pair's cells, one for each seed and draw; also count those left out, by their state."""
        left_out: Counter[State] = Counter()
        found: list[tuple[PlannedCell, tuple[CellRecord, ...]]] = []
        for cell in sorted(planned, key=lambda cell: (cell.key.seed, cell.key.draw)):
            parts = self._parts(cell)
            if isinstance(parts, State):
                left_out[parts] += 1
            else:
                found.append((cell, parts))
        if not found:
            return None, left_out
        sample = self._measure([parts for _, parts in found])
        if sample is None:
            left_out[State.UNDEFINED] += len(found)
            return None, left_out
        records = tuple(parts[0] for _, parts in found)
        score = fmean(primary(record) for record in records)
        return Pair(records[0].key.target, records, sample, score, self._baselines(found)), left_out

    def _parts(self, planned: PlannedCell) -> tuple[CellRecord, ...] | State:
        """Return the records that the value is made of: the cell's, the in-domain cell's, the baseline's."""
        if planned.undefined:
            return State.UNDEFINED
        record = self.cells.get(planned.id)
        if record is None:
            return State.MISSING
        if record.status == "failed":
            return State.FAILED
        key = planned.key
        others = {
            "score": (),
            "gain": (planned.baselines.get(self.baseline),),
            "normalised": (planned.baselines.get(self.baseline),),
            "gap": (
                self._in_domain.get((key.protocol, key.target, key.seed, key.draw)),
                planned.baselines.get(self.baseline),
            ),
        }[self.value]
        found = [self._done(id_) for id_ in others]
        return State.NO_BASELINE if None in found else (record, *(other for other in found if other))

    def _done(self, id_: str | None) -> CellRecord | None:
        record = self.cells.get(id_) if id_ else None
        return record if record is not None and record.status == "done" else None

    def _measure(self, parts: Sequence[tuple[CellRecord, ...]]) -> Sample | None:
        """Return the value of each seed; None where the unit that it is measured in is not positive."""
        first = parts[0][0]
        sign = 1.0 if first.higher_is_better else -1.0
        seeds = _repetitions([records[0] for records in parts])
        samples = [self._sample(seeds, column) for column in zip(*parts, strict=True)]
        if self.value == "score":
            return samples[0]
        difference = combine(lambda with_, without: sign * (with_ - without), samples[0], samples[1])
        if self.value == "gain":
            return difference
        top = first.best if self.value == "normalised" else samples[1].value
        unit = sign * (top - samples[-1].value)
        return combine(lambda values: values / unit, difference) if unit > 0 else None

    def _sample(self, seeds: tuple[int, ...], records: Sequence[CellRecord]) -> Sample:
        resamples = [self._resampled(record) for record in records]
        if len({len(resamples_R) for resamples_R in resamples}) > 1:
            resamples = [np.empty(0) for _ in records]
        values = np.array([primary(record) for record in records])
        num_examples = min(record.num_test for record in records)
        if len(set(seeds)) == len(seeds):
            return Sample(seeds, values, np.stack(resamples), num_examples, len(seeds))
        rows = [[i for i, other in enumerate(seeds) if other == seed] for seed in dict.fromkeys(seeds)]
        return Sample(
            seeds=tuple(dict.fromkeys(seeds)),
            values_S=np.array([values[of_seed].mean() for of_seed in rows]),
            resamples_SR=np.stack([np.stack(resamples)[of_seed].mean(axis=0) for of_seed in rows]),
            num_examples=num_examples,
            num_seeds=len(rows),
        )

    def _resampled(self, record: CellRecord) -> np.ndarray:
        if record.id not in self._resamples:
            self._resamples[record.id] = np.array(record.resamples, dtype=np.float64)
        return self._resamples[record.id]

    def _baselines(self, found: Sequence[tuple[PlannedCell, tuple[CellRecord, ...]]]) -> dict[str, float]:
        scores: dict[str, list[float]] = {}
        for planned, _ in found:
            for name, id_ in planned.baselines.items():
                record = self._done(id_)
                if record:
                    scores.setdefault(name, []).append(primary(record))
        return {name: fmean(values) for name, values in scores.items() if len(values) == len(found)}


def _repetitions(records: Sequence[CellRecord]) -> tuple[int, ...]:
    """Return for each record which independent repetition it belongs to.

    That is its seed: the draws of a seed have the source's training in common. With one seed it is the draw,
    and what is said of the mean holds for the one training.
    """
    seeds = tuple(record.key.seed for record in records)
    return seeds if len(set(seeds)) > 1 else tuple(record.key.draw for record in records)


def primary(record: CellRecord) -> float:
    """The score that the record is about."""
    return record.scores[record.metric].value
