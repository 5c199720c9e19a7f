"""Accuracy, precision, recall, F1 and Matthews' correlation of labels, or of each word's tag."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from sslm_metrics.counts import (
    Counts,
    Score,
    by_class,
    class_counts,
    f1,
    macro,
    micro,
    precision,
    ratio,
    recall,
)
from sslm_metrics.ranking import RANKED, RecallAt
from sslm_platform.api import (
    DecomposableMetric,
    Metric,
    MetricContext,
    MetricDef,
    OutputKind,
    Scored,
)

LABELS = frozenset({OutputKind.SEQUENCE_LOGITS, OutputKind.TOKEN_LOGITS, OutputKind.TAG_PAIR_LOGITS})
SETS = frozenset({OutputKind.LABEL_SET_LOGITS})


class Accuracy(DecomposableMetric):
    """Share of labels, of words or of target tokens that are predicted rightly (items, not examples)."""

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return right and all items of each example, (N, 2)."""
        pairs = zip(scored.predictions, scored.references, strict=True)
        return np.array(
            [[np.sum(np.equal(p, r) & (np.asarray(r) >= 0)), np.size(r)] for p, r in pairs], dtype=np.float64
        )

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Divide right by all."""
        return ratio(totals_RK[:, 0], totals_RK[:, 1])


class SetAccuracy(DecomposableMetric):
    """Share of examples whose set of labels is predicted exactly."""

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return right and 1 for each example, (N, 2)."""
        pairs = zip(scored.predictions, scored.references, strict=True)
        return np.array([[np.array_equal(np.sort(p), np.sort(r)), 1.0] for p, r in pairs], dtype=np.float64)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Divide right by all."""
        return ratio(totals_RK[:, 0], totals_RK[:, 1])


class LabelSetMetric(DecomposableMetric):
    """A score of each class's true positives, predicted and gold counts, over the labels of sets."""

    def __init__(self, score: Score, num_classes: int) -> None:
        self.final = score
        self.num_classes = num_classes

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return (N, 3 (num_labels + 1)) counts; a label that the head does not know is a class by itself."""
        counts_N3K = np.zeros((len(scored), 3, self.num_classes + 1))
        for counts_3K, prediction, reference in zip(
            counts_N3K, scored.predictions, scored.references, strict=True
        ):
            gold = np.where(reference < 0, self.num_classes, reference)
            for counts_K, ids in zip(
                counts_3K, (np.intersect1d(prediction, gold), prediction, gold), strict=True
            ):
                np.add.at(counts_K, ids, 1.0)
        return counts_N3K.reshape(len(scored), -1)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Score the summed counts."""
        return self.final(Counts.of_totals(totals_RK))


class ClassMetric(DecomposableMetric):
    """A score of each class's true positives, predicted and gold counts, over items (labels or words)."""

    def __init__(self, score: Score, labels: Sequence[str]) -> None:
        self.final = score
        self.labels = labels

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return (N, 3 (num_labels + 1)) counts; a label that the head does not know is a class by itself."""
        unseen = len(self.labels)
        pairs = ((p, np.asarray(r)) for p, r in zip(scored.predictions, scored.references, strict=True))
        return np.stack([class_counts(p, np.where(r < 0, unseen, r), unseen + 1) for p, r in pairs])

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Score the summed counts."""
        return self.final(Counts.of_totals(totals_RK))

    def details(self, scored: Scored) -> Mapping[str, Mapping[str, float]]:
        """Return the scores of each label."""
        total_1K = self.statistics(scored).sum(axis=0, keepdims=True)
        return by_class(Counts.of_totals(total_1K), [*self.labels, "(unseen)"])


def matthews(counts: Counts) -> np.ndarray:
    """Return R_K, (R,), from -1 to 1; 0 where gold or predictions have one class (Gorodkin 2004, eq. 8)."""
    correct_R, num_R = counts.correct.sum(axis=1), counts.gold.sum(axis=1)
    covariance_R = correct_R * num_R - (counts.predicted * counts.gold).sum(axis=1)
    spread_R = [num_R**2 - (c**2).sum(axis=1) for c in (counts.predicted, counts.gold)]
    return ratio(covariance_R, np.sqrt(spread_R[0] * spread_R[1]))


def _build_accuracy(options: Any, context: MetricContext) -> Metric:
    if context.emits in RANKED:
        return RecallAt(1)
    return SetAccuracy() if context.emits is OutputKind.LABEL_SET_LOGITS else Accuracy()


def _build_classes(score: Score, options: Any, context: MetricContext) -> Metric:
    if context.emits is OutputKind.LABEL_SET_LOGITS:
        return LabelSetMetric(score, len(context.labels))
    return ClassMetric(score, context.labels)


def _definition(name: str, score: Score, summary: str) -> MetricDef:
    build: Callable[[Any, MetricContext], Metric] = partial(_build_classes, score)
    return MetricDef(name, build, accepts=LABELS | SETS, summary=summary)


DEFINITIONS = (
    MetricDef(
        "accuracy",
        _build_accuracy,
        accepts=LABELS | SETS | RANKED | {OutputKind.VOCABULARY_LOGITS},
        summary="Share of labels, words, tokens, whole sets of labels or first candidates that are right.",
    ),
    _definition("macro_f1", macro(f1), "F1 averaged over the classes in gold or predictions."),
    _definition("micro_f1", micro(f1), "F1 of the counts of all classes."),
    _definition("macro_precision", macro(precision), "Precision averaged over classes."),
    _definition("micro_precision", micro(precision), "Precision of the counts of all classes."),
    _definition("macro_recall", macro(recall), "Recall averaged over classes."),
    _definition("micro_recall", micro(recall), "Recall of the counts of all classes."),
    MetricDef(
        "matthews",
        partial(_build_classes, matthews),
        accepts=LABELS,
        summary="Matthews' correlation, also for many classes.",
    ),
)
