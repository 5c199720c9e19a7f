"""Weights that are learned with the model."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from sslm_platform.api import BalancingState, Memory, Options
from sslm_schedule.scalar_adam import START, adam_update


class UncertaintyOptions(Options):
    """Options of ``uncertainty``."""

    lr: float = Field(
        default=0.01,
        gt=0.0,
        description="Rate of Adam on the log-variances s; the optimizer's schedule does not touch it.",
    )


class Uncertainty:
    """w_t = ½ exp(-s_t), where s_t descends on ½ exp(-s_t) · loss_t + ½ s_t.

    Homoscedastic uncertainty (Kendall, Gal & Cipolla 2018, "Multi-task learning using uncertainty", equation
    7 with s = log σ²). Where a loss stays as it is, s_t comes to rest at its logarithm: every task's weighted
    loss is then ½. s_t is 0 at the start.

    A task that is absent from a step keeps its s_t and Adam's moments.
    """

    def __init__(self, options: UncertaintyOptions) -> None:
        self.lr = options.lr

    def weights(self, state: BalancingState) -> Mapping[str, float]:
        """Return ½ exp(-s) of each task."""
        return {task: 0.5 * math.exp(-state.memory.get(task, START)["value"]) for task in state.shares}

    def observe(self, state: BalancingState) -> Memory:
        """Return the log-variances after one step of Adam."""
        memory = dict(state.memory)
        for task, loss in state.losses.items():
            if math.isfinite(loss):
                s = memory.get(task, START)
                gradient = 0.5 - 0.5 * math.exp(-s["value"]) * loss
                memory[task] = adam_update(s, gradient, self.lr)
        return memory
