"""How far the labels' mean features lie apart, in units of the features' covariance."""

from __future__ import annotations

import numpy as np

from sslm_platform.api import Evidence, TargetFeatures


class HScore:
    """H = tr(cov(F)⁺ · cov(E[F | y])), the sum of squared canonical correlations of features and labels.

    Bao et al. 2019, "An information-theoretic approach to transferability in task transfer learning",
    definition 2. F is (N, D); it is at most min(D, labels - 1), and reaches that for any labels once D >= N.
    """

    def score(self, evidence: Evidence) -> float:
        """Return H, at least 0."""
        found = evidence.features
        covariance_DD = np.atleast_2d(np.cov(found.rows_ND, rowvar=False))
        return float(np.sum(np.linalg.pinv(covariance_DD, hermitian=True) * _between(found)))


class ShrunkHScore:
    """H-score with cov(F) shrunk by Ledoit and Wolf's share, and cov(E[F | y]) scaled by what it leaves.

    Ibrahim, Ponomareva & Mazumder 2021, "Newer is not always better: rethinking transferability metrics,
    their peculiarities, stability and performance", equation 5.
    """

    def score(self, evidence: Evidence) -> float:
        """Return the shrunk H, at least 0."""
        from sklearn.covariance import LedoitWolf

        found = evidence.features
        fitted = LedoitWolf().fit(found.rows_ND)
        inverse_DD = np.linalg.pinv(fitted.covariance_, hermitian=True)
        return float((1.0 - fitted.shrinkage_) * np.sum(inverse_DD * _between(found)))


def _between(found: TargetFeatures) -> np.ndarray:
    """Return the covariance of each row's label's mean, (D, D)."""
    means_ND = np.empty_like(found.rows_ND)
    for label in np.unique(found.targets_N):
        chosen_N = found.targets_N == label
        means_ND[chosen_N] = found.rows_ND[chosen_N].mean(axis=0)
    return np.atleast_2d(np.cov(means_ND, rowvar=False))
