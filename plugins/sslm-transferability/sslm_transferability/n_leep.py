"""LEEP where the source has no classifier: a Gaussian mixture of its features stands in for one."""

from __future__ import annotations

import warnings

import numpy as np
from pydantic import Field

from sslm_platform.api import Evidence, Options
from sslm_transferability.leep import leep

ROWS_PER_COMPONENT = 5


class NLEEPOptions(Options):
    """Options of ``n_leep``."""

    energy: float = Field(default=0.8, gt=0.0, lt=1.0, description="Share of variance that PCA keeps.")
    components_per_label: int = Field(default=5, ge=1, description="Gaussians for each label.")


class NLEEP:
    """N-LEEP: LEEP with θ the posterior of a Gaussian mixture over PCA-reduced features.

    Li et al. 2021, "Ranking neural checkpoints", section 3.3: PCA to 80 % of the variance, five components
    for each label. Covariances are diagonal (PCA has made the features uncorrelated), and there are at most
    N / 5 components, as otherwise small splits have more parameters than rows.
    """

    def __init__(self, options: NLEEPOptions) -> None:
        self.energy = options.energy
        self.components_per_label = options.components_per_label

    def score(self, evidence: Evidence) -> float:
        """Return the mean log likelihood in nats, at most 0."""
        from sklearn.decomposition import PCA
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        found = evidence.features
        # k-means starts at rows that are drawn by their place: without an order of its own, a shuffled split
        # would have another score
        order_N = np.lexsort(found.rows_ND.T)
        rows_ND, targets_N = found.rows_ND[order_N], found.targets_N[order_N]
        wanted = self.components_per_label * len(np.unique(targets_N))
        reduced_NK = PCA(n_components=self.energy, svd_solver="full").fit_transform(rows_ND)
        mixture = GaussianMixture(
            n_components=max(1, min(wanted, len(rows_ND) // ROWS_PER_COMPONENT)),
            covariance_type="diag",
            random_state=0,
        )
        with warnings.catch_warnings():
            # fewer distinct rows than components, or EM still moving after 100 rounds: θ is a soft assignment
            # either way
            warnings.simplefilter("ignore", ConvergenceWarning)
            probabilities_NZ = mixture.fit(reduced_NK).predict_proba(reduced_NK)
        return leep(probabilities_NZ, targets_N)
