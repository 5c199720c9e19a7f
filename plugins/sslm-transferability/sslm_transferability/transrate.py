"""How many nats it costs to code the features, and how many of them the labels save."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sslm_platform.api import Evidence, Options


class TransRateOptions(Options):
    """Options of ``transrate``."""

    distortion: float = Field(default=1e-4, gt=0.0, description="Allowed squared error of the code, ε.")


class TransRate:
    """TransRate = R(Z) - Σ_c n_c / N · R(Z_c), with R(Z) = ½ log det(I + ZᵀZ / (N ε)), Z centred as a whole.

    Huang et al. 2022, "Frustratingly easy transferability estimation", equation 5: an estimate of the mutual
    information of features (N, D) and labels.
    """

    def __init__(self, options: TransRateOptions) -> None:
        self.distortion = options.distortion

    def score(self, evidence: Evidence) -> float:
        """Return TransRate in nats."""
        found = evidence.features
        centred_ND = found.rows_ND - found.rows_ND.mean(axis=0)
        given_labels = 0.0
        for label in np.unique(found.targets_N):
            chosen_N = found.targets_N == label
            given_labels += chosen_N.mean() * self._rate(centred_ND[chosen_N])
        return float(self._rate(centred_ND) - given_labels)

    def _rate(self, rows_ND: np.ndarray) -> float:
        n, d = rows_ND.shape
        gram = rows_ND.T @ rows_ND if d <= n else rows_ND @ rows_ND.T  # one determinant, the smaller matrix
        return 0.5 * float(np.linalg.slogdet(np.eye(len(gram)) + gram / (n * self.distortion))[1])
