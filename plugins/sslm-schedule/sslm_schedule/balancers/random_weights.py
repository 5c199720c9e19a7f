"""Weights drawn anew in every step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sslm_platform.api import BalancingState

KEY = 0x524C57  # apart from the draws of the step plan, which are keyed by seed and step too


class RandomWeights:
    """w = K · softmax(z), z standard normal, drawn anew in every step.

    Random loss weighting (Lin et al. 2022, "Reasonable effectiveness of random weighting", section 3): a
    baseline that methods which learn their weights have to beat. K is the number of the training's tasks, so
    that weights are 1 on average (the paper's sum to 1). The draw is keyed by seed and step.

    All K tasks are drawn for; those of the step take theirs.
    """

    def weights(self, state: BalancingState) -> Mapping[str, float]:
        """Return this step's weights."""
        normal_K = np.random.default_rng([state.seed, state.step, KEY]).standard_normal(len(state.tasks))
        raised_K = np.exp(normal_K - normal_K.max())
        weights = dict(zip(state.tasks, (len(normal_K) * raised_K / raised_K.sum()).tolist(), strict=True))
        return {task: weights[task] for task in state.shares}
