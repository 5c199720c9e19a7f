"""Bootstrap over test examples and aggregation over seeds.

Shape suffixes: N examples, R resamples, S seeds. All intervals are percentile intervals (Efron and
Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
NUM_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval; ``low`` and ``high`` are None where no interval can be given."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and all of it lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def resample_counts(num_examples: int, num_resamples: int, seed: int) -> np.ndarray:
    """Draw bootstrap multiplicities, counts_RN (uint16): row ``r`` counts how often each example is drawn.

    Each row is a multinomial draw of ``num_examples`` from equal probabilities. It depends on the arguments
    only, so metrics of two models on one test split are resampled alike and their differences are paired.

    Raises:
        ValueError: ``num_examples`` or ``num_resamples`` is below 1.
    """
    if num_examples < 1 or num_resamples < 1:
        raise ValueError(
            f"cannot draw {num_resamples} resamples of {num_examples} examples: both must be >= 1"
        )
    generator = np.random.default_rng(seed)
    counts_RN = np.empty((num_resamples, num_examples), dtype=np.uint16)
    for counts_N in counts_RN:
        drawn_N = generator.integers(num_examples, size=num_examples)
        counts_N[:] = np.bincount(drawn_N, minlength=num_examples)
    return counts_RN


def percentile_interval(
    resamples_R: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the central interval that holds ``confidence`` of the resamples.

    Resamples on which the metric is undefined (NaN) are left out; the bounds are NaN where none is left.
    """
    values_R = np.asarray(resamples_R, dtype=np.float64)
    defined_R = values_R[~np.isnan(values_R)]
    if not len(defined_R):
        return float("nan"), float("nan")
    tail = 50 * (1 - confidence)
    low, high = np.percentile(defined_R, [tail, 100 - tail])
    return float(low), float(high)


def paired_difference(
    score: float,
    other: float,
    resamples_R: Sequence[float] | np.ndarray,
    other_R: Sequence[float] | np.ndarray,
    *,
    higher_is_better: bool = True,
) -> tuple[float, np.ndarray]:
    """Return ``score - other`` in the metric's good direction, and the same of each resample, gain_R.

    Both resample vectors must come from the same multiplicities. They are empty in the result where they
    differ in length (one of them was not resampled): then there is no interval.
    """
    sign = 1.0 if higher_is_better else -1.0
    with_R, without_R = np.asarray(resamples_R, np.float64), np.asarray(other_R, np.float64)
    if with_R.shape != without_R.shape:
        return sign * (score - other), np.empty(0)
    return sign * (score - other), sign * (with_R - without_R)


def aggregate_seeds(
    values_S: Sequence[float], resamples_SR: np.ndarray, seed: int = 0
) -> tuple[Estimate, np.ndarray]:
    """Average over seeds; return the estimate and the resamples of the average, mean_R.

    With one seed the interval is over test examples only, conditional on the one trained model. With more,
    each resample also draws seeds with replacement. A plain draw of S seeds understates the variance of
    their mean by (S - 1) / S, so deviations from it are stretched by sqrt(S / (S - 1)) (the rescaling of
    Rao and Wu, *Resampling inference with complex survey data*, 1988). No small-sample (t) correction is
    made: with fewer than about five seeds the interval is still too narrow.
    """
    mean_R = resamples_SR.mean(axis=0)
    num_seeds, num_resamples = resamples_SR.shape
    if num_seeds > 1 and num_resamples:
        drawn_RS = np.random.default_rng(seed).integers(num_seeds, size=(num_resamples, num_seeds))
        drawn_R = np.take_along_axis(resamples_SR.T, drawn_RS, axis=1).mean(axis=1)
        mean_R = mean_R + np.sqrt(num_seeds / (num_seeds - 1)) * (drawn_R - mean_R)
    return estimate(float(np.mean(values_S)), mean_R), mean_R


def estimate(value: float, resamples_R: np.ndarray) -> Estimate:
    """Put a value and the interval of its resamples together; no resamples, no interval."""
    low, high = percentile_interval(resamples_R)
    return Estimate(value) if np.isnan(low) else Estimate(value, low, high)
