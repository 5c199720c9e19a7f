"""Weights that keep the tasks' gradients of a length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from sslm_platform.api import BalancingState, Memory, Options
from sslm_schedule.scalar_adam import START, Scalar, adam_update

SMALLEST = 1e-3  # Adam could take a weight below 0


class GradNormOptions(Options):
    """Options of ``gradnorm``."""

    alpha: float = Field(
        default=1.5, ge=0.0, description="How strongly slow tasks are helped; 0: not at all."
    )
    lr: float = Field(default=0.025, gt=0.0, description="Rate of Adam on the weights.")


class GradNorm:
    """w descends on Σ | G_t - mean(G) · r_t^alpha |, G_t = w_t · ‖∇loss_t‖ (Chen et al. 2018, equation 2).

    r_t is the task's loss over its first one, divided by the mean of these over the step's tasks; the right
    side is held. Gradients are of the balancer's scope, by default the last shared layer as in the paper.
    After each step the weights of its tasks are held above 0.001, and scaled so that their sum stays (1 each
    at first).

    A step uses the weights from before it. Absent tasks keep theirs.
    """

    def __init__(self, options: GradNormOptions) -> None:
        self.alpha = options.alpha
        self.lr = options.lr

    def combine(self, state: BalancingState, gramian_TT: np.ndarray) -> tuple[Sequence[float], Memory]:
        """Return the weights of this step, and those of the next with first losses and Adam's moments."""
        tasks = list(state.shares)
        kept: dict[str, Scalar] = {task: state.memory.get(task, {**START, "value": 1.0}) for task in tasks}
        weights = [kept[task]["value"] for task in tasks]
        known = [t for t in tasks if math.isfinite(state.losses.get(t, math.nan)) and state.losses[t] > 0.0]
        if len(known) < 2:
            return weights, state.memory
        first = {task: kept[task].get("first", state.losses[task]) for task in known}
        norm_T = np.sqrt(np.maximum(np.diag(gramian_TT), 0.0))
        norms = {task: norm_T[tasks.index(task)] / state.shares[task] for task in known}
        lengths = {task: kept[task]["value"] * norms[task] for task in known}
        rates = {task: state.losses[task] / first[task] for task in known}
        mean_length, mean_rate = np.mean(list(lengths.values())), np.mean(list(rates.values()))
        moved: dict[str, Scalar] = {}
        for task in known:
            target = mean_length * (rates[task] / mean_rate) ** self.alpha
            gradient = float(np.sign(lengths[task] - target) * norms[task])
            moved[task] = adam_update(kept[task], gradient, self.lr)
        values = {task: max(moved[task]["value"], SMALLEST) for task in known}
        scale = sum(kept[task]["value"] for task in known) / sum(values.values())
        after = {t: {**moved[t], "value": values[t] * scale, "first": first[t]} for t in known}
        return weights, {**state.memory, **after}
