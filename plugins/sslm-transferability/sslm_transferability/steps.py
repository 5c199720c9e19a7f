"""What the joint training's steps say of a pair: no further training."""

from __future__ import annotations

import numpy as np

from sslm_platform.api import Evidence, UndefinedError


class TagAffinity:
    """Mean over steps of Z = 1 - L_target(θ - η g_source) / L_target(θ).

    Fifty et al. 2021, "Efficiently identifying task groupings for multi-task learning", equation 1: θ is the
    shared encoder, g the gradient of the source's loss, η the step's learning rate, both losses on the
    step's batch. The spec's ``balancer.log_affinity_every`` makes the joint training note it.
    """

    def score(self, evidence: Evidence) -> float:
        """Return the mean affinity, at most 1; below 0 the source harms the target."""
        affinities = evidence.log.affinities
        if not affinities:
            raise UndefinedError(
                "the joint training noted no affinity of this pair: set balancer.log_affinity_every, and"
                " schedule.slots_per_step to 2 or more"
            )
        return float(np.mean(affinities))


class JointGradientCosine:
    """Mean over steps of the cosine of the two tasks' gradients of the shared encoder.

    The spec's ``balancer.log_gradients_every`` makes the joint training note it.
    """

    def score(self, evidence: Evidence) -> float:
        """Return the mean cosine, in [-1, 1]."""
        cosines = evidence.log.cosines
        if not cosines:
            raise UndefinedError(
                "the joint training noted no gradients of this pair: set balancer.log_gradients_every, and"
                " schedule.slots_per_step to 2 or more"
            )
        return float(np.mean(cosines))
