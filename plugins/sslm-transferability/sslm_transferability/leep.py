"""How well the source's answers, as they are, tell the target's labels."""

from __future__ import annotations

import numpy as np

from sslm_platform.api import Evidence


class LEEP:
    """LEEP = mean over rows of log Σ_z p(y | z) · θ(x)_z, with p(y, z) = mean over rows of [y] · θ(x)_z.

    Nguyen et al. 2020, "LEEP: a new measure to evaluate transferability of learned representations",
    equation 2. θ is (N, Z), the source's distribution over its own labels.
    """

    def score(self, evidence: Evidence) -> float:
        """Return the mean log likelihood in nats, at most 0."""
        found = evidence.outputs
        return leep(found.probabilities_NZ, found.targets_N)


def leep(probabilities_NZ: np.ndarray, targets_N: np.ndarray) -> float:
    """Return LEEP of any soft assignment of rows to Z states."""
    labels, places_N = np.unique(targets_N, return_inverse=True)
    joint_YZ = np.stack([probabilities_NZ[places_N == y].sum(axis=0) for y in range(len(labels))])
    marginal_Z = joint_YZ.sum(axis=0)
    given_YZ = np.divide(joint_YZ, marginal_Z, out=np.zeros_like(joint_YZ), where=marginal_Z > 0)
    likelihood_N = np.einsum("nz,nz->n", probabilities_NZ, given_YZ[places_N])
    return float(np.log(likelihood_N).mean())
