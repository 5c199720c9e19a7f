"""Even progress of all tasks in the logarithm of their losses."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from sslm_platform.api import BalancingState, Memory, Options
from sslm_schedule.scalar_adam import START, Scalar, adam_update

SMALLEST = 1e-8  # added to losses before the logarithm, as in the authors' code


class FAMOOptions(Options):
    """Options of ``famo``."""

    lr: float = Field(default=0.025, gt=0.0, description="Rate of Adam on the task logits, beta.")
    decay: float = Field(default=1e-5, ge=0.0, description="Weight decay of the task logits, gamma.")


class FAMO:
    """Fast adaptive multitask optimization: descend on c · Σ z_t · log loss_t, z = softmax(xi).

    Liu et al. 2023, "FAMO", algorithm 1. With c = 1 / Σ (z_t / loss_t), the gradient is
    Σ c · z_t / loss_t · ∇loss_t: a convex combination. After the update, xi descends on how much each
    log-loss has fallen, δ_t = log loss_t(before) - log loss_t(after), through the softmax, so that the tasks
    that fell least weigh more. Both losses are of the step's own examples: its slots are run forward twice
    more.

    z is over the tasks of the step, with their shares as prior: z_t ~ share_t · exp(xi_t), which is the
    paper's where all shares are equal; where tasks share slots, the weights are as many times the paper's as
    a slot has tasks. Absent tasks keep xi and Adam's moments. A step of one task weighs it 1 and teaches
    nothing.
    """

    def __init__(self, options: FAMOOptions) -> None:
        self.lr = options.lr
        self.decay = options.decay

    def weights(self, state: BalancingState) -> Mapping[str, float]:
        """Return the factor of each task's mean loss; 1 where a task has no loss."""
        z = _softmax(state)
        losses = {task: _positive(state.losses[task]) for task in z}
        scale = 1.0 / sum(z[task] / losses[task] for task in z) if z else 1.0
        total = sum(state.shares[task] for task in z)
        return {
            task: total * scale * z[task] / losses[task] / state.shares[task] if task in z else 1.0
            for task in state.shares
        }

    def observe(self, state: BalancingState) -> Memory:
        """Return the task logits after one step of Adam."""
        z = _softmax(state)
        if any(not math.isfinite(state.losses_after.get(task, math.nan)) for task in z):
            return state.memory
        fall = {
            task: math.log(_positive(state.losses[task])) - math.log(_positive(state.losses_after[task]))
            for task in z
        }
        mean = sum(z[task] * fall[task] for task in z)
        memory: dict[str, Scalar] = dict(state.memory)
        for task in z:
            xi = memory.get(task, START)
            gradient = z[task] * (fall[task] - mean) + self.decay * xi["value"]
            memory[task] = adam_update(xi, gradient, self.lr)
        return memory


def _positive(loss: float) -> float:
    """Return a loss as logarithms take it: the method is for losses of 0 or more."""
    return max(loss, 0.0) + SMALLEST


def _softmax(state: BalancingState) -> dict[str, float]:
    """Return share · exp(xi), scaled to sum to 1, of the step's tasks that have a loss."""
    logits = {task: state.memory.get(task, START)["value"] for task in state.losses}
    highest = max(logits.values(), default=0.0)
    raised = {task: state.shares[task] * math.exp(logit - highest) for task, logit in logits.items()}
    return {task: value / sum(raised.values()) for task, value in raised.items()}
