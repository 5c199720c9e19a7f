"""Sampling by excess loss."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from pydantic import Field

from sslm_platform.api import Memory, Observation, Options, Problem, SamplingState
from sslm_schedule.patterns import Tasks, last_match, task_names, unmatched


class DoReMiOptions(Options):
    """Options of ``doremi``."""

    reference_losses: dict[str, float] = Field(
        description="Mean training loss of a reference model on each task `name@domain` or pattern; every"
        " task needs one. The last steps of a `proportional` run's metrics.jsonl have them."
    )
    rate: float = Field(default=1.0, gt=0.0, description="Step size of the update, eta.")
    smoothing: float = Field(
        default=1e-3,
        gt=0.0,
        le=1.0,
        description="Share of the uniform distribution in every update, c; it keeps every feed alive.",
    )


class DoReMi:
    """Exponentiated-gradient ascent on the feeds' excess losses over a reference model.

    p_t ~ p_(t-1) · exp(eta · max(loss - reference, 0)), then (1 - c) p_t + c / number of feeds (Xie et al.
    2023, "DoReMi", algorithm 1), from uniform. The run's intended shares, at its end, are the mean over steps
    that the paper hands on to the next training.

    Unlike there, the probabilities draw this very run's slots (the paper's proxy run draws uniformly and
    weighs the losses), and the excess is cut at 0 for a step's mean, not for each token. A feed that a step
    did not draw keeps the excess that it showed last; nothing moves before every feed has shown one.
    """

    def __init__(self, options: DoReMiOptions) -> None:
        self.references = options.reference_losses
        self.rate = options.rate
        self.smoothing = options.smoothing

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return the present shares, (number of feeds,)."""
        shares = state.memory.get("shares", {})
        return np.array([shares.get(feed, 1.0 / len(state.feeds)) for feed in state.feeds])

    def observe(self, state: SamplingState, observation: Observation) -> Memory:
        """Return shares after one step of ascent, and each feed's last excess."""
        if not observation.losses:
            return state.memory
        excess = dict(state.memory.get("excess", {}))
        for feed in observation.slots:
            values = [self._excess(task, observation.losses.get(task)) for task in state.tasks[feed]]
            known = [value for value in values if value is not None]
            if known:
                excess[feed] = float(np.mean(known))
        if any(feed not in excess for feed in state.feeds):
            return {"excess": excess}
        excess_F = np.array([excess[feed] for feed in state.feeds])
        log_F = np.log(self.probabilities(state)) + self.rate * excess_F
        raised_F = np.exp(log_F - log_F.max())
        shares_F = (1.0 - self.smoothing) * raised_F / raised_F.sum() + self.smoothing / len(state.feeds)
        return {"excess": excess, "shares": dict(zip(state.feeds, shares_F.tolist(), strict=True))}

    def _excess(self, task: str, loss: float | None) -> float | None:
        reference = last_match(self.references, [task])
        if loss is None or reference is None or not math.isfinite(loss):
            return None
        return max(loss - reference, 0.0)


def check_reference_losses(options: DoReMiOptions, tasks: Tasks) -> Iterable[Problem]:
    """Yield patterns that match no task, and tasks that match no pattern."""
    known = task_names(tasks)
    yield from unmatched(options.reference_losses, known, "reference_losses")
    for task in known:
        if last_match(options.reference_losses, [task]) is None:
            yield Problem("reference_losses", f"has no loss for {task}")
