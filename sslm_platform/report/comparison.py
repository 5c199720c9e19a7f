"""Balancers on the same tasks and seeds, each beside a baseline: a function of trainings' test scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sslm_platform.errors import Problem, RunError
from sslm_platform.report.records import TaskScore
from sslm_platform.statistics import MIN_SEEDS, Sample, adjusted, combine, infer, mean_of, score_estimate

BASELINE = "equal"
OVERALL = "mean gain over majority"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Training(_Record):
    """What one training gave."""

    seed: int
    dev: float = Field(description="`evaluation.select_by` of the kept model")
    scores: tuple[TaskScore, ...] = Field(description="of the kept model on the test splits")


class Candidate(_Record):
    """A balancer, and its trainings, one for each seed."""

    name: str
    balancer: dict[str, Any] = Field(description="the spec's section")
    trainings: tuple[Training, ...]


class Result(_Record):
    """A candidate's test score on one task, or over all tasks, and its difference from the baseline's.

    ``better`` is positive where the candidate is better, whatever the metric's direction. Intervals are of
    95 % over test examples, and over seeds where there are enough; they are paired in both.
    """

    candidate: str
    task: str
    metric: str
    value: float
    low: float | None
    high: float | None
    better: float | None = None
    better_low: float | None = None
    better_high: float | None = None
    p: float | None = None
    q: float | None = Field(default=None, description="p adjusted for all differences (Benjamini-Hochberg)")
    conditional: bool = Field(default=True, description="too few seeds: of these trained models alone")


class Comparison(_Record):
    """Balancers beside the baseline."""

    seeds: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    tuning: tuple[Candidate, ...] = Field(description="trainings among which `tuned` was chosen, on dev")
    results: tuple[Result, ...]


def compare(candidates: Sequence[Candidate], tuning: Sequence[Candidate] = ()) -> Comparison:
    """Compare candidates with the one that is named ``equal``.

    Raises:
        RunError: it is not there, or the trainings are not of the same seeds and tasks.
    """
    by_name = {candidate.name: _samples(candidate) for candidate in candidates}
    if BASELINE not in by_name:
        raise RunError(Problem("comparison", f"has no {BASELINE!r}, with which all are compared"))
    baseline = by_name[BASELINE]
    for name, samples in by_name.items():
        if samples.keys() != baseline.keys() or any(
            samples[key].seeds != baseline[key].seeds for key in samples
        ):
            raise RunError(Problem(f"comparison: {name}", f"other seeds or tasks than {BASELINE}"))
    rows = [
        _result(name, key, sample, None if name == BASELINE else baseline[key])
        for name, samples in by_name.items()
        for key, sample in samples.items()
    ]
    tested = [i for i, row in enumerate(rows) if row.p is not None]
    for i, q in zip(tested, adjusted([rows[i].p or 0.0 for i in tested], [0] * len(tested)), strict=True):
        rows[i] = rows[i].model_copy(update={"q": q})
    seeds = tuple(training.seed for training in candidates[0].trainings)
    return Comparison(seeds=seeds, candidates=tuple(candidates), tuning=tuple(tuning), results=tuple(rows))


Key = tuple[str, str, bool, float]
"""Task, metric, whether higher is better, and the best that it can be."""


def _samples(candidate: Candidate) -> Mapping[Key, Sample]:
    """Return a sample for each task, and one of the mean over tasks of the normalized gain."""
    trainings = sorted(candidate.trainings, key=lambda training: training.seed)
    seeds = tuple(training.seed for training in trainings)
    found: dict[Key, Sample] = {}
    gains = []
    for scores in zip(*(sorted(t.scores, key=lambda s: s.task) for t in trainings), strict=True):
        first = scores[0]
        sample = Sample(
            seeds,
            np.array([s.scores[s.metric].value for s in scores]),
            np.array([s.resamples for s in scores], dtype=np.float64),
            first.num_test,
            len(seeds),
        )
        found[first.task, first.metric, first.higher_is_better, first.best] = sample
        constant = first.majority[first.metric].value
        if first.best != constant:
            gains.append(combine(lambda x, c=constant, b=first.best: (x - c) / (b - c), sample))
    if gains:
        found[OVERALL, "", True, 1.0] = mean_of(gains)
    return found


def _result(name: str, key: Key, sample: Sample, baseline: Sample | None) -> Result:
    task, metric, higher_is_better, best = key
    interval = score_estimate(sample, higher_is_better, best)
    result = Result(
        candidate=name,
        task=task,
        metric=metric,
        value=sample.value,
        low=interval.low,
        high=interval.high,
        conditional=sample.num_seeds < MIN_SEEDS,
    )
    if baseline is None:
        return result
    sign = 1.0 if higher_is_better else -1.0
    difference = combine(lambda mine, theirs: sign * (mine - theirs), sample, baseline)
    tested = infer(difference)
    between = tested.estimate() if tested else None
    return result.model_copy(
        update={
            "better": difference.value,
            "better_low": between.low if between else None,
            "better_high": between.high if between else None,
            "p": tested.p if tested else None,
        }
    )
