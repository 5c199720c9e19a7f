"""Metrics of probabilities: ranking (AUROC, average precision) and calibration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from pydantic import Field

from sslm_metrics.counts import ratio
from sslm_platform.api import (
    DecomposableMetric,
    Metric,
    MetricContext,
    MetricDef,
    Options,
    OutputKind,
    Scored,
)

SETS = frozenset({OutputKind.LABEL_SET_LOGITS})
LABELS = frozenset({OutputKind.SEQUENCE_LOGITS})

Ranking = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(R, U) counts of positives and negatives at each of U probabilities, from low to high -> (R,)."""


def area_under_roc(positive_RU: np.ndarray, negative_RU: np.ndarray) -> np.ndarray:
    """Return the chance that a positive lies above a negative, ties half (Hanley & McNeil 1982)."""
    below_RU = np.cumsum(negative_RU, axis=1) - negative_RU / 2
    pairs_R = positive_RU.sum(axis=1) * negative_RU.sum(axis=1)
    return ratio((positive_RU * below_RU).sum(axis=1), pairs_R)


def average_precision(positive_RU: np.ndarray, negative_RU: np.ndarray) -> np.ndarray:
    """Return the sum over thresholds of (recall - last recall) x precision, without interpolation."""
    right_RU = np.cumsum(positive_RU[:, ::-1], axis=1)
    taken_RU = np.cumsum((positive_RU + negative_RU)[:, ::-1], axis=1)
    return ratio((positive_RU[:, ::-1] * ratio(right_RU, taken_RU)).sum(axis=1), right_RU[:, -1])


class RankingMetric(Metric):
    """A ranking score of each label against the rest, averaged over labels that have both; 0 if none has."""

    def __init__(self, ranking: Ranking, num_labels: int) -> None:
        self.ranking = ranking
        self.num_labels = num_labels

    def score(self, scored: Scored) -> float:
        """Return the score of all examples."""
        return float(self.resample(scored, np.ones((1, len(scored)), dtype=np.int64))[0])

    def resample(self, scored: Scored, counts_RN: np.ndarray) -> np.ndarray:
        """Return each resample's score, (R,), from counts alone."""
        probability_NK, gold_NK = _probabilities(scored), _gold(scored, self.num_labels)
        total_R, labels_R = np.zeros(len(counts_RN)), np.zeros(len(counts_RN))
        for score_N, gold_N in zip(probability_NK.T, gold_NK.T, strict=True):
            positive_RU, negative_RU = _at_each_score(score_N, gold_N, counts_RN)
            has_both_R = positive_RU.any(axis=1) & negative_RU.any(axis=1)
            total_R += np.where(has_both_R, self.ranking(positive_RU, negative_RU), 0.0)
            labels_R += has_both_R
        return ratio(total_R, labels_R)


def _at_each_score(
    score_N: np.ndarray, gold_N: np.ndarray, counts_RN: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(score_N, kind="stable")
    starts_U = np.flatnonzero(np.r_[True, np.diff(score_N[order]) > 0])
    weight_RN, gold_N = counts_RN[:, order].astype(np.float64), gold_N[order]
    return (
        np.add.reduceat(weight_RN * gold_N, starts_U, axis=1),
        np.add.reduceat(weight_RN * ~gold_N, starts_U, axis=1),
    )


def _probabilities(scored: Scored) -> np.ndarray:
    assert scored.scores is not None, "a metric that needs scores gets them"
    return np.stack(scored.scores)


def _gold(scored: Scored, num_labels: int) -> np.ndarray:
    gold_NK = np.zeros((len(scored), num_labels), dtype=bool)
    for row_K, ids in zip(gold_NK, scored.references, strict=True):
        known = np.atleast_1d(ids)
        row_K[known[known >= 0]] = True
    return gold_NK


class CalibrationOptions(Options):
    """Options of ``calibration_error``."""

    bins: int = Field(default=15, ge=1, description="Bins of equal width between 0 and 1.")


class CalibrationError(DecomposableMetric):
    """Expected calibration error (Guo et al. 2017, equation 5).

    The mean over examples of |accuracy - confidence| of their bin, where confidence is the probability of the
    likeliest label and a bin is (i / M, (i + 1) / M].
    """

    def __init__(self, options: CalibrationOptions) -> None:
        self.bins = options.bins

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return right - confidence and 1 in each example's bin, (N, 2 M)."""
        probability_NK = _probabilities(scored)
        confidence_N = probability_NK.max(axis=1)
        right_N = probability_NK.argmax(axis=1) == np.asarray(scored.references)
        bin_N = np.clip(np.ceil(confidence_N * self.bins).astype(int) - 1, 0, self.bins - 1)
        statistics_N2M = np.zeros((len(scored), 2, self.bins))
        rows = np.arange(len(scored))
        statistics_N2M[rows, 0, bin_N] = right_N - confidence_N
        statistics_N2M[rows, 1, bin_N] = 1.0
        return statistics_N2M.reshape(len(scored), -1)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return the sum over bins of |sum of differences| / n."""
        difference_RM, count_RM = np.split(totals_RK, 2, axis=1)
        return ratio(np.abs(difference_RM).sum(axis=1), count_RM.sum(axis=1))


def _build_ranking(ranking: Ranking, options: Any, context: MetricContext) -> Metric:
    return RankingMetric(ranking, len(context.labels))


def _build_calibration(options: CalibrationOptions, context: MetricContext) -> Metric:
    return CalibrationError(options)


DEFINITIONS = (
    MetricDef(
        "auroc",
        partial(_build_ranking, area_under_roc),
        accepts=LABELS | SETS,
        needs_scores=True,
        summary="Area under the ROC curve of each label against the rest, averaged.",
    ),
    MetricDef(
        "average_precision",
        partial(_build_ranking, average_precision),
        accepts=LABELS | SETS,
        needs_scores=True,
        summary="Area under the precision-recall curve of each label against the rest, averaged.",
    ),
    MetricDef(
        "calibration_error",
        _build_calibration,
        accepts=LABELS,
        higher_is_better=False,
        best=0.0,
        options=CalibrationOptions,
        needs_scores=True,
        summary="Expected calibration error of the likeliest label.",
    ),
)
