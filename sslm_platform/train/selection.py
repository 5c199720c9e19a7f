"""Dev scores during training: which step's model is kept, and when to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sslm_platform.baselines import majority
from sslm_platform.corpus import group_by_head
from sslm_platform.data.feeds import Feed, FeedSplit
from sslm_platform.decisions import tune_head
from sslm_platform.engine.base import Engine
from sslm_platform.evaluate import TaskModel, outputs_of, score_feed, texts_of
from sslm_platform.interfaces import Scored
from sslm_platform.scheduling import DevScore
from sslm_platform.scoring import normalized_gain, score_metrics
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.schema import LAST, MEAN_GAIN, EvaluationSpec
from sslm_platform.train.loop import Training

Scores = dict[str, dict[str, float]]
"""Task to metric to value."""


class Scoring(NamedTuple):
    """A dev scoring: after which step, and its value (higher is better)."""

    step: int
    value: float


@dataclass(slots=True)
class Selection:
    """The best scorings so far; equal on all ranks.

    Attributes:
        spec: the section ``evaluation``.
        keep: how many scorings' models are kept.
        kept: these, the best first; the earlier of equal ones, and those without a value last. If the spec
            wants the last, the latest first.
        since_best: scorings since the best one.
    """

    spec: EvaluationSpec
    keep: int = 1
    kept: tuple[Scoring, ...] = ()
    since_best: int = 0

    def observe(self, value: float, step: int) -> bool:
        """Take a scoring into account; return whether its model is to be kept."""
        scoring = Scoring(step, value)
        order = _lateness if self.spec.select_by == LAST else _goodness
        self.kept = tuple(sorted((*self.kept, scoring), key=order, reverse=True)[: self.keep])
        self.since_best = 0 if self.best_step == step else self.since_best + 1
        return scoring in self.kept

    @property
    def best(self) -> float | None:
        """The best scoring's value, None before the first."""
        return self.kept[0].value if self.kept else None

    @property
    def best_step(self) -> int:
        """The best scoring's step, 0 before the first."""
        return self.kept[0].step if self.kept else 0

    @property
    def exhausted(self) -> bool:
        """Whether ``patience`` scorings went by without a better one."""
        return self.spec.patience is not None and self.since_best >= self.spec.patience


@dataclass(slots=True)
class Evaluator:
    """Scores a split of all of a training's feeds, beside the constant predictor."""

    training: Training
    engine: Engine
    _majority: dict[SplitName, Scores] = field(default_factory=dict)

    def scored(self, split: SplitName) -> dict[str, Scored]:
        """Return every task's predictions and references on a split, on all ranks."""
        model, corpus = self.training.model, self.training.corpus
        modules = (self.engine.encoder, *model.heads.values())
        for module in modules:
            module.eval()
        result: dict[str, Scored] = {}
        for feed in self.training.feeds.values():
            models = self._models(feed.tasks)
            result |= score_feed(
                outputs_of(self.engine.encoder, models),
                self._examples(feed, split),
                models,
                corpus.vocabulary.pad_id,
                texts=texts_of(self.engine.encoder, models),
                device=self.engine.device,
                rank=self.engine.rank,
                world_size=self.engine.world_size,
                gather=self.engine.all_gather_objects if self.engine.world_size > 1 else None,
            )
        for module in modules:
            module.train()
        return result

    def scores(self, split: SplitName) -> Scores:
        """Return every task's metrics on a split; on dev, heads set their thresholds first."""
        models = self.training.model.tasks
        scored = self.scored(split)
        if split == "dev":
            scored = self._tuned(scored)
        return {t: score_metrics(models[t].task, s, models[t].labels) for t, s in scored.items()}

    def _tuned(self, scored: Mapping[str, Scored]) -> dict[str, Scored]:
        tuned: dict[str, Scored] = {}
        models = self.training.model.tasks
        for members in group_by_head({task: models[task].task for task in scored}).values():
            names = [task.identity for task in members]
            head = models[names[0]].head.module
            tuned |= zip(names, tune_head(head, [scored[name] for name in names]), strict=True)
        return {task: tuned[task] for task in scored}

    def majority_scored(self, split: SplitName) -> dict[str, Scored]:
        """Return the constant predictor's results on a split."""
        pad_id = self.training.corpus.vocabulary.pad_id
        return {
            task: majority(model, feed.splits["train"], self._examples(feed, split), pad_id)
            for feed in self.training.feeds.values()
            for task, model in self._models(feed.tasks).items()
        }

    def majority(self, split: SplitName) -> Scores:
        """Return the constant predictor's metrics on a split; computed once, unless heads make the labels."""
        models = self.training.model.tasks
        rewrites = any(model.task.head.definition.rewrites for model in models.values())
        if rewrites or split not in self._majority:
            self._majority[split] = {
                task: score_metrics(models[task].task, scored, models[task].labels)
                for task, scored in self.majority_scored(split).items()
            }
        return self._majority[split]

    def _examples(self, feed: Feed, split: SplitName) -> FeedSplit:
        """Return a feed's split; of dev ``evaluation.max_generated`` for each task that generates."""
        part, most = feed.splits[split], self.training.corpus.run.spec.evaluation.max_generated
        writing = [part.has(task) for task, model in self._models(feed.tasks).items() if model.writes]
        if split != "dev" or not writing or len(part) <= most:
            return part
        taken_N = ~np.logical_or.reduce(writing)
        for is_of_N in writing:
            places = np.flatnonzero(is_of_N)
            taken_N[places[np.argsort(part.keys_N[places], kind="stable")[:most]]] = True
        return part.take(np.flatnonzero(taken_N))

    def _models(self, tasks: tuple[str, ...]) -> dict[str, TaskModel]:
        return {task: self.training.model.tasks[task] for task in tasks}


def _lateness(scoring: Scoring) -> int:
    return scoring.step


def _goodness(scoring: Scoring) -> tuple[bool, float]:
    undefined = np.isnan(scoring.value)
    return (not undefined, 0.0 if undefined else scoring.value)


def selection_value(
    select_by: str, models: Mapping[str, TaskModel], scores: Scores, baseline: Scores
) -> float:
    """Return what ``select_by`` names, so that higher is better.

    ``mean_gain_over_majority`` is the mean over tasks of (score - majority) / (best - majority) of the
    primary metric: 0 is the constant predictor, 1 is perfect, in any metric and direction.
    """
    if select_by == MEAN_GAIN:
        gains = [
            normalized_gain(m.task, scores[t][m.task.primary_name], baseline[t][m.task.primary_name])
            for t, m in models.items()
        ]
        return float(np.mean(gains))
    task, _, metric = select_by.rpartition("/")
    sign = 1.0 if models[task].task.metrics[metric].definition.higher_is_better else -1.0
    return sign * scores[task][metric]


def dev_scores(models: Mapping[str, TaskModel], scores: Scores, baseline: Scores) -> dict[str, DevScore]:
    """Return each task's primary metric as samplers see it."""
    return {
        task: DevScore(
            scores[task][m.task.primary_name],
            baseline[task][m.task.primary_name],
            m.task.primary.definition.best,
        )
        for task, m in models.items()
    }
