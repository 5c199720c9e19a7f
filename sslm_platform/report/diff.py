"""Two runs compared: what their specs say, what the joint models score, and every matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sslm_platform.report.matrix import Cell, Matrix, State, corrected
from sslm_platform.report.records import TaskScore
from sslm_platform.report.run import Run
from sslm_platform.report.views import families
from sslm_platform.statistics import Estimate, Inference, Sample, adjusted, combine, infer

ABSENT = "not there"


@dataclass(frozen=True, slots=True)
class SpecChange:
    """A key of the resolved specs whose values differ; ``ABSENT`` where one of them lacks it."""

    key: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """The joint models' scores on one task; ``better`` is positive where the second run's is better."""

    task: str
    metric: str
    best: float
    first: float
    second: float
    better: Estimate
    inference: Inference | None
    q: float | None
    paired: bool


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs from the first run to the second.

    ``matrices`` hold, by the task of their targets, the second run's scores minus the first's in the metric's
    good direction; ``only`` names what is in one run alone.
    """

    names: tuple[str, str]
    spec: tuple[SpecChange, ...]
    scores: tuple[ScoreChange, ...]
    matrices: tuple[tuple[str, Matrix], ...]
    only: tuple[str, ...]


def diff_runs(first: Run, second: Run) -> Diff:
    """Compare two runs.

    Differences are paired by test example where both runs have the same rows and the same split of a stream,
    and by seed where a cell has the same seeds in both. Otherwise errors of both sides add up.
    """
    same, names = _same_examples(first, second), (first.record.name, second.record.name)
    if names[0] == names[1]:
        names = (f"{names[0]} (first)", f"{names[1]} (second)")
    return Diff(
        names,
        tuple(_spec_changes(first.record.spec, second.record.spec)),
        _score_changes(first, second, same),
        tuple(_matrices(first, second, same, names[0])),
        tuple(_only(first, second, names)),
    )


def _same_examples(first: Run, second: Run) -> frozenset[str]:
    """Return the tasks whose test examples are the same in both runs."""
    return frozenset(
        task
        for task, info in first.record.tasks.items()
        if (other := second.record.tasks.get(task))
        and first.record.fingerprints.get(info.stream) == second.record.fingerprints.get(other.stream)
        and _splitting(first, info.stream) == _splitting(second, other.stream)
        and info.num_test == other.num_test
    )


def _splitting(run: Run, stream: str) -> Any:
    """What of a spec decides which rows are test examples."""
    streams: Sequence[dict[str, Any]] = run.record.spec.get("streams", ())
    found = next((s for s in streams if s.get("name") == stream), {})
    return found.get("split"), found.get("limit"), run.record.spec.get("seed")


def _spec_changes(first: Any, second: Any) -> Iterator[SpecChange]:
    left, right = dict(_flat(first)), dict(_flat(second))
    for key in dict.fromkeys([*left, *right]):
        one, other = left.get(key, ABSENT), right.get(key, ABSENT)
        if one != other:
            yield SpecChange(key, one, other)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves by their key path; items of a list by their name, where they have one."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            name = inner.get("name", number) if isinstance(inner, Mapping) else number
            yield from _flat(inner, f"{path}[{name}]")
    else:
        yield path, value


def _score_changes(first: Run, second: Run, same: frozenset[str]) -> tuple[ScoreChange, ...]:
    others = {score.task: score for score in second.scores}
    found = [
        _score_change(score, others[score.task], paired=score.task in same and _as_many(score, others))
        for score in first.scores
        if score.task in others and others[score.task].metric == score.metric
    ]
    tested = [change for change in found if change.inference]
    q_M = adjusted([change.inference.p for change in tested if change.inference], [0] * len(tested))
    by_task = dict(zip((change.task for change in tested), q_M, strict=True))
    return tuple(replace(change, q=by_task.get(change.task)) for change in found)


def _as_many(score: TaskScore, others: Mapping[str, TaskScore]) -> bool:
    """Whether as many test examples were scored: tasks of one input are scored on the rows that all have."""
    return score.num_test == others[score.task].num_test


def _score_change(first: TaskScore, second: TaskScore, *, paired: bool) -> ScoreChange:
    sign = 1.0 if first.higher_is_better else -1.0
    difference = _difference(_sample(first, sign), _sample(second, sign), paired=paired)
    inference = infer(difference)
    return ScoreChange(
        first.task,
        first.metric,
        first.best,
        first.scores[first.metric].value,
        second.scores[second.metric].value,
        inference.estimate() if inference else Estimate(difference.value),
        inference,
        None,
        paired,
    )


def _sample(score: TaskScore, sign: float) -> Sample:
    value_1 = sign * np.array([score.scores[score.metric].value])
    return Sample((0,), value_1, sign * np.array([score.resamples]), score.num_test, 1)


def _difference(first: Sample, second: Sample, *, paired: bool) -> Sample:
    """Return second minus first; without pairs the resamples of one side are put in another order."""
    if not paired:
        rng = np.random.default_rng(0)
        resamples_SR = first.resamples_SR[:, rng.permutation(first.resamples_SR.shape[1])]
        first = replace(first, resamples_SR=resamples_SR)
    if first.seeds != second.seeds:
        # Other models: what is left of either side is its mean, conditional on the models that were trained.
        first, second = _as_one(first), _as_one(second)
    difference = combine(np.subtract, second, first)
    return replace(difference, num_examples=min(first.num_examples, second.num_examples))


def _as_one(sample: Sample) -> Sample:
    mean_1R = sample.resamples_SR.mean(axis=0, keepdims=True)
    return Sample((0,), np.array([sample.value]), mean_1R, sample.num_examples, 1)


def _matrices(first: Run, second: Run, same: frozenset[str], baseline: str) -> Iterator[tuple[str, Matrix]]:
    others = {family.slug: family.scores for family in families(second.plan, second.cells)}
    for family in families(first.plan, first.cells):
        if family.slug in others:
            matrix = _matrix(family.scores, others[family.slug], same, baseline)
            if matrix.rows and matrix.cols:
                yield family.task, matrix


def _matrix(first: Matrix, second: Matrix, same: frozenset[str], baseline: str) -> Matrix:
    rows = tuple(row for row in first.rows if row in second.rows)
    cols = tuple(col for col in first.cols if col in second.cols)
    places = {
        (row, col): _cell(first.cells[row, col], second.cells[row, col], baseline, paired=col in same)
        for row in rows
        for col in cols
    }
    return Matrix(first.protocol, "gain", baseline, rows, cols, corrected(places))


def _cell(first: Cell, second: Cell, baseline: str, *, paired: bool) -> Cell:
    if first.sample is None or second.sample is None or first.metric != second.metric:
        state = second.state if second.state is not State.OK else State.NO_BASELINE
        return Cell(state, relation=second.relation, error=second.error)
    sign = 1.0 if second.higher_is_better else -1.0
    sample = _difference(
        combine(lambda x: sign * x, first.sample),
        combine(lambda x: sign * x, second.sample),
        paired=paired,
    )
    inference = infer(sample)
    return replace(
        second,
        estimate=inference.estimate() if inference else Estimate(sample.value),
        baselines={baseline: first.score} if first.score is not None else {},
        sample=sample,
        inference=inference,
        q=None,
    )


def _only(first: Run, second: Run, names: tuple[str, str]) -> Iterator[str]:
    for run, other, name in ((first, second, names[0]), (second, first, names[1])):
        for task in run.record.tasks:
            if task not in other.record.tasks:
                yield f"task {task}: in {name} alone"
        shown = {family.slug: family for family in families(run.plan, run.cells)}
        known = {family.slug for family in families(other.plan, other.cells)}
        for slug, family in shown.items():
            if slug not in known:
                yield f"{family.task}, {family.protocol}: in {name} alone"
