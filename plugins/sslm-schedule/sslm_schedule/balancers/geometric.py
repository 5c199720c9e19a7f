"""The geometric mean of the losses."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sslm_platform.api import BalancingState

SMALLEST = 1e-12  # a loss of 0 would have a weight without bound


class Geometric:
    """w_t = G / loss_t, with which the step descends on the geometric mean of its losses, G.

    Geometric loss strategy (Chennupati et al. 2019, "MultiNet++", equation 3): the gradient of
    G = (Π loss_t)^(1/T) is Σ (1/T) · G / loss_t · ∇loss_t. Tasks with more slots in the step count more: with
    shares p_t the step descends on P · Π loss_t^(p_t / P), P = Σ p_t, whose gradient is
    Σ p_t · G / loss_t · ∇loss_t; equal shares of 1/T give the paper's. The losses are the step's own, so
    every slot is run forward once more.

    The mean is over the tasks of the step; absent ones take no part. Losses must be above 0.
    """

    def weights(self, state: BalancingState) -> Mapping[str, float]:
        """Return G / loss of each task of the step; 1 where a task has no loss."""
        losses = {task: max(loss, SMALLEST) for task, loss in state.losses.items()}
        if not losses:
            return dict.fromkeys(state.shares, 1.0)
        total = sum(state.shares[task] for task in losses)
        log_mean = sum(state.shares[task] * math.log(loss) for task, loss in losses.items()) / total
        return {task: math.exp(log_mean) / losses[task] if task in losses else 1.0 for task in state.shares}
