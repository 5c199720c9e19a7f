"""Metrics of numbers: squared error and correlations."""

from __future__ import annotations

from typing import Any

import numpy as np

from sslm_metrics.counts import ratio
from sslm_platform.api import (
    DecomposableMetric,
    Metric,
    MetricContext,
    MetricDef,
    OutputKind,
    Scored,
)

VALUES = frozenset({OutputKind.SEQUENCE_VALUES})


class MeanSquaredError(DecomposableMetric):
    """Mean squared difference, in the value's unit squared."""

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return each example's squared error and 1, (N, 2)."""
        error_N = _floats(scored.predictions) - _floats(scored.references)
        return np.stack([error_N**2, np.ones(len(scored))], axis=1)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return ratio(totals_RK[:, 0], totals_RK[:, 1])


class Pearson(Metric):
    """Linear correlation, -1 to 1; 0 where predictions or references are constant."""

    def score(self, scored: Scored) -> float:
        """Return scipy's correlation."""
        from scipy.stats import pearsonr

        return _correlate(pearsonr, scored)

    def resample(self, scored: Scored, counts_RN: np.ndarray) -> np.ndarray:
        """Return each resample's correlation, (R,)."""
        return _weighted_pearson(_floats(scored.predictions), _floats(scored.references), counts_RN)


class Spearman(Metric):
    """Correlation of mid-ranks, -1 to 1; 0 where predictions or references are constant."""

    def score(self, scored: Scored) -> float:
        """Return scipy's correlation."""
        from scipy.stats import spearmanr

        return _correlate(spearmanr, scored)

    def resample(self, scored: Scored, counts_RN: np.ndarray) -> np.ndarray:
        """Return each resample's correlation, (R,), from ranks within the resample."""
        return _weighted_pearson(
            _ranks(_floats(scored.predictions), counts_RN),
            _ranks(_floats(scored.references), counts_RN),
            counts_RN,
        )


def _floats(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def _correlate(function: Any, scored: Scored) -> float:
    x_N, y_N = _floats(scored.predictions), _floats(scored.references)
    if np.ptp(x_N) == 0 or np.ptp(y_N) == 0:
        return 0.0
    return float(function(x_N, y_N).statistic)


def _ranks(values_N: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Return each value's mid-rank among the repeated values of each resample, (R, N)."""
    _, group_N, sizes_U = np.unique(values_N, return_inverse=True, return_counts=True)
    order = np.argsort(group_N, kind="stable")
    starts_U = np.cumsum(sizes_U) - sizes_U
    counts_RU = np.add.reduceat(counts_RN[:, order].astype(np.float64), starts_U, axis=1)
    return (np.cumsum(counts_RU, axis=1) - (counts_RU - 1) / 2)[:, group_N]


def _weighted_pearson(x: np.ndarray, y: np.ndarray, counts_RN: np.ndarray) -> np.ndarray:
    """Return the correlation of each resample, (R,), of values (N,) or (R, N), in two passes."""
    weight_RN = counts_RN / counts_RN.sum(axis=1, keepdims=True)
    x_RN = x - (weight_RN * x).sum(axis=1, keepdims=True)
    y_RN = y - (weight_RN * y).sum(axis=1, keepdims=True)
    spread_2R = np.stack([(weight_RN * z_RN**2).sum(axis=1) for z_RN in (x_RN, y_RN)])
    scale_2R = np.stack([(weight_RN * z**2).sum(axis=1) for z in (x, y)])
    constant_R = (spread_2R <= 1e-24 * scale_2R).any(axis=0)  # what rounding leaves of no spread
    covariance_R = np.where(constant_R, 0.0, (weight_RN * x_RN * y_RN).sum(axis=1))
    return np.clip(ratio(covariance_R, np.sqrt(spread_2R[0] * spread_2R[1])), -1.0, 1.0)


def _build_mse(options: Any, context: MetricContext) -> Metric:
    return MeanSquaredError()


def _build_pearson(options: Any, context: MetricContext) -> Metric:
    return Pearson()


def _build_spearman(options: Any, context: MetricContext) -> Metric:
    return Spearman()


DEFINITIONS = (
    MetricDef(
        "mse", _build_mse, accepts=VALUES, higher_is_better=False, best=0.0, summary="Mean squared error."
    ),
    MetricDef("pearson", _build_pearson, accepts=VALUES, summary="Linear correlation."),
    MetricDef("spearman", _build_spearman, accepts=VALUES, summary="Rank correlation."),
)
