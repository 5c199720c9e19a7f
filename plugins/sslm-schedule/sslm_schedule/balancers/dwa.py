"""Weights from how fast losses fall."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from sslm_platform.api import BalancingState, Memory, Options


class DWAOptions(Options):
    """Options of ``dwa``."""

    temperature: float = Field(default=2.0, gt=0.0, description="The higher, the more even, T.")
    window: int = Field(
        default=100, ge=1, description="Steps over which a task's loss is averaged: an epoch."
    )


class DWA:
    """Dynamic weight average: w_t = K · softmax(r / T)_t with r_t = L_t(e - 1) / L_t(e - 2).

    Liu, Johns & Davison 2019, "End-to-end multi-task learning with attention", equation 7. L_t(e) is the
    task's mean loss over the e-th ``window`` of steps (the paper's epoch; a mixture has none that all tasks
    share), K the number of the training's tasks. In the first two windows every weight is 1.

    A task's mean is over the steps of the window that had it. One that was absent from a whole window keeps
    its last two means; one without two means yet counts as steady, r_t = 1.
    """

    def __init__(self, options: DWAOptions) -> None:
        self.temperature = options.temperature
        self.window = options.window

    def weights(self, state: BalancingState) -> Mapping[str, float]:
        """Return the weights of this window."""
        rates_K = np.array([_rate(state.memory.get(task)) for task in state.tasks]) / self.temperature
        raised_K = np.exp(rates_K - rates_K.max())
        weights = dict(zip(state.tasks, (len(rates_K) * raised_K / raised_K.sum()).tolist(), strict=True))
        return {task: weights[task] for task in state.shares}

    def observe(self, state: BalancingState) -> Memory:
        """Return the running sums, and at the end of a window the new means."""
        memory: dict[str, dict[str, Any]] = {task: dict(kept) for task, kept in state.memory.items()}
        window = state.step // self.window
        for kept in memory.values():
            if kept["window"] != window:  # the step that ended it was skipped
                _close(kept, window)
        for task, loss in state.losses.items():
            if math.isfinite(loss):
                kept = memory.setdefault(task, {"sum": 0.0, "count": 0, "means": [], "window": window})
                kept["sum"] += loss
                kept["count"] += 1
        if (state.step + 1) % self.window == 0:
            for kept in memory.values():
                _close(kept, window + 1)
        return memory


def _close(kept: dict[str, Any], window: int) -> None:
    """End a task's window, if it had a step, and begin another."""
    if kept["count"]:
        kept["means"] = [*kept["means"], kept["sum"] / kept["count"]][-2:]
    kept.update(sum=0.0, count=0, window=window)


def _rate(kept: Mapping[str, Any] | None) -> float:
    """Return a task's mean loss over the last window divided by that of the one before."""
    if kept is None or len(kept["means"]) < 2 or kept["means"][0] <= 0.0:
        return 1.0
    return float(kept["means"][1] / kept["means"][0])
