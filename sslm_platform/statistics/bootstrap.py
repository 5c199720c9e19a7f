"""Bootstrap over test examples (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993).

Shape suffixes: N examples, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.95
NUM_RESAMPLES = 1000


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
    """Return the central interval that holds ``confidence`` of the resamples (chapter 13).

    Resamples on which the metric is undefined (NaN) are left out; the bounds are NaN where none is left.
    """
    values_R = np.asarray(resamples_R, dtype=np.float64)
    defined_R = values_R[~np.isnan(values_R)]
    if not len(defined_R):
        return float("nan"), float("nan")
    tail = 50 * (1 - confidence)
    low, high = np.percentile(defined_R, [tail, 100 - tail])
    return float(low), float(high)
