"""The metric: per-example statistics, and the score of their sums."""

from __future__ import annotations

import numpy as np

from sslm_platform.api import DecomposableMetric, Scored


class MeanAbsoluteError(DecomposableMetric):
    """Mean of |prediction - reference|, in the value's unit."""

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return each example's error and 1, (N, 2): what a sum over any resample needs."""
        error_N = np.abs(np.subtract(scored.predictions, scored.references, dtype=np.float64))
        return np.stack([error_N, np.ones(len(scored))], axis=1)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return the mean error of each resample, (R,)."""
        return totals_RK[:, 0] / totals_RK[:, 1]
