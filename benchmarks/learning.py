"""What benchmarks of trained models share: trainings in memory, paired scores, differences.

A side of a comparison is a spec with overrides. Choices are made on dev; a seed of a choice is none of the
seeds that are reported. Intervals are those of the transfer report: over test examples, and from five seeds
on over seeds as well (sslm_platform.statistics).
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Finding

from sslm_platform.engine.factory import make_engine
from sslm_platform.runs import Run, open_run
from sslm_platform.scoring import score_intervals
from sslm_platform.spec.data import SplitName
from sslm_platform.statistics import Sample, combine, infer
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import build_model
from sslm_platform.train.selection import Evaluator

Values = dict[str, float]

CHOICE_SEED = 100  # of trainings that choose something; reported ones count from 1


@dataclass(frozen=True)
class Score:
    """A primary metric on a split with its bootstrap resamples; equal splits are resampled alike."""

    value: float
    resamples: tuple[float, ...]
    num_examples: int


class Side:
    """A spec that is trained again and again, each time with another seed or optimizer, and kept nowhere."""

    def __init__(self, spec: Path, overrides: Sequence[str]) -> None:
        self.run: Run = open_run(spec, overrides=overrides)

    def start(self, seed: int, **optimizer: object) -> Fit:
        """Build a model; ``optimizer`` replaces keys of the spec's section."""
        return Fit(self.run, seed, optimizer)


class Fit:
    """One model and its training."""

    def __init__(self, run: Run, seed: int, optimizer: Mapping[str, object]) -> None:
        spec, corpus = run.resolved.spec, run.corpus
        changed = type(spec.optimizer).model_validate(
            spec.optimizer.model_dump(exclude_unset=True) | dict(optimizer)
        )
        model = build_model(corpus, list(run.resolved.tasks.values()), seed)
        self.engine = make_engine(spec.engine, changed, model.encoder, model.heads, corpus.run.gradients_of)
        self.model = model.with_heads(self.engine.heads)
        self.training = plan_training(corpus, self.model, spec.schedule, changed, seed, "benchmark")
        self.seconds = 0.0

    def steps(self) -> Iterator[int]:
        """Train; yield after each step how many are done. Time of what happens meanwhile is not counted."""
        began = time.perf_counter()
        for record in train_steps(self.training, self.engine, self.training.start()):
            self.seconds += time.perf_counter() - began
            yield record.step
            began = time.perf_counter()

    def train(self) -> Fit:
        for _ in self.steps():
            pass
        return self

    def scores(self, split: SplitName) -> dict[str, Score]:
        """Return each task's primary metric."""
        result = {}
        for name, scored in Evaluator(self.training, self.engine).scored(split).items():
            model = self.model.tasks[name]
            values, resamples = score_intervals(model.task, scored, model.labels)
            result[name] = Score(values[model.task.primary_name].value, resamples, len(scored))
        return result

    def score(self, split: SplitName) -> Score:
        """Return the only task's."""
        (score,) = self.scores(split).values()
        return score

    def num_trained(self) -> int:
        """Return the number of parameters that are trained, heads included."""
        modules = (self.model.encoder, *self.model.heads.values())
        return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)


def sample(scores: Mapping[int, Score]) -> Sample:
    """Put the scores of several seeds on one split together."""
    seeds = tuple(sorted(scores))
    values_S = np.array([scores[seed].value for seed in seeds])
    resamples_SR = np.array([scores[seed].resamples for seed in seeds])
    return Sample(seeds, values_S, resamples_SR, min(s.num_examples for s in scores.values()), len(seeds))


def finding(what: str, found: Sample, unit: str = "", scale: float = 1.0, **bound: float) -> Finding:
    """Return a mean over seeds with its 95 % interval, times a scale."""
    inferred = infer(found)
    if inferred is None:
        return Finding(what, scale * found.value, unit, **bound)
    estimate = inferred.estimate()
    low, high = (None if end is None else scale * end for end in (estimate.low, estimate.high))
    return Finding(what, scale * found.value, unit, low, high, **bound)


def points(what: str, found: Sample, **bound: float) -> Finding:
    """Return a mean of shares in points of 100."""
    return finding(what, found, "points", 100.0, **bound)


def difference(what: str, first: Sample, second: Sample, **bound: float) -> Finding:
    """Return the mean of first - second in points, paired by seed and test example."""
    return points(what, combine(lambda a, b: a - b, first, second), **bound)


def side_by_side(function: Callable[..., Any], calls: Iterable[tuple], workers: int) -> list[Any]:
    """Return what a function gives for each call, in their order; several processes keep a GPU busy.

    The function is a module's own, and what it takes and gives can be pickled.
    """
    calls = list(calls)
    if workers == 1:
        return [function(*call) for call in calls]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(calls)), mp_context=context) as pool:
        return list(pool.map(function, *zip(*calls, strict=True)))


def choose(what: str, grid: Sequence[float], value: Callable[[float], float]) -> tuple[float, Values]:
    """Return the grid's best by a value on dev (the first of equal ones), and all values."""
    values: Values = {}
    for one in grid:
        values[f"{one:g}"] = value(one)
        print(f"{what} {one:g}: dev {values[f'{one:g}']:.4f}", flush=True)
    best = max(grid, key=lambda one: values[f"{one:g}"])
    return best, values
