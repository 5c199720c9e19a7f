"""A bandit that follows learning progress."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from sslm_platform.api import Memory, Observation, Options, SamplingState

RESERVOIR = 1000
LOW, HIGH = 0.2, 0.8


class Exp3SOptions(Options):
    """Options of ``exp3s``."""

    rate: float = Field(default=1e-3, gt=0.0, description="Step size of the weights, eta.")
    exploration: float = Field(
        default=0.05, gt=0.0, le=1.0, description="Share of the slots that are spread evenly, epsilon."
    )


class Exp3S:
    """The bandit Exp3.S on learning progress.

    Graves et al. 2017, "Automated curriculum learning for neural networks", section 3. Policy:
    p_i = (1 - eps) softmax(w)_i + eps / N. Before step t
    w_i = log[(1 - a) exp(w_i + eta r_i) + a / (N - 1) · sum over j != i of exp(w_j + eta r_j)] with a = 1 / t
    and r_i = reward of i / p_i where i was drawn, else 0. With several slots in a step, r_i is the mean over
    slots: an unbiased estimate as before.

    The progress of a feed is how far its mean loss has fallen since the step that drew it last, a one-sample
    form of their self prediction gain that costs no further pass. Rewards are progress, scaled so that the
    20th and 80th percentile of what was seen are -1 and 1, and cut there (section 3.1); what was seen is a
    reservoir of 1,000 values. A task's first loss gives no reward. A feed of several tasks adds up what those
    have that were in the step. Progress is in the losses' own units: tasks of very different losses compete
    unevenly.
    """

    def __init__(self, options: Exp3SOptions) -> None:
        self.rate = options.rate
        self.exploration = options.exploration

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return the policy, (number of feeds,)."""
        weights_F = _weights(state)
        raised_F = np.exp(weights_F - weights_F.max())
        return (1.0 - self.exploration) * raised_F / raised_F.sum() + self.exploration / len(state.feeds)

    def observe(self, state: SamplingState, observation: Observation) -> Memory:
        """Return weights, last losses and the reservoir after a step."""
        losses = {task: loss for task, loss in observation.losses.items() if math.isfinite(loss)}
        if not losses:
            return state.memory
        before = state.memory.get("losses", {})
        progress = _progress(state, observation, losses, before)
        history, seen = list(state.memory.get("progress", [])), int(state.memory.get("seen", 0))
        for feed in progress:
            seen = _keep(history, progress[feed], seen)
        memory: dict[str, Any] = {
            "losses": {**before, **losses},
            "progress": history,
            "seen": seen,
            "updates": state.memory.get("updates", 0),
            "weights": state.memory.get("weights", {}),
        }
        if progress and len(state.feeds) > 1:
            memory["updates"] += 1
            num_slots = sum(observation.slots.values())
            policy_F = self.probabilities(state)
            reward_F = np.array(
                [
                    _scaled(progress[feed], history) * observation.slots[feed] / num_slots
                    if feed in progress
                    else 0.0
                    for feed in state.feeds
                ]
            )
            share = 1.0 / (1 + memory["updates"])  # alpha_t = 1 / t, and w_1 = 0 is no update
            weights_F = _exp3s(_weights(state), self.rate * reward_F / policy_F, share)
            memory["weights"] = dict(zip(state.feeds, weights_F.tolist(), strict=True))
        return memory


def _weights(state: SamplingState) -> np.ndarray:
    weights = state.memory.get("weights", {})
    return np.array([weights.get(feed, 0.0) for feed in state.feeds])


def _progress(
    state: SamplingState, observation: Observation, losses: Mapping[str, float], before: Mapping[str, float]
) -> dict[str, float]:
    """Return how far the losses of each drawn feed's tasks have fallen, where something is to compare."""
    found = {}
    for feed in state.feeds:
        seen = [task for task in state.tasks.get(feed, ()) if task in losses and task in before]
        if seen and feed in observation.slots:
            found[feed] = sum(before[task] - losses[task] for task in seen)
    return found


def _keep(history: list[float], value: float, seen: int) -> int:
    """Add a value to the reservoir (Vitter 1985, algorithm R), keyed by how many came before."""
    if len(history) < RESERVOIR:
        history.append(value)
    else:
        place = int(np.random.Generator(np.random.Philox(key=[seen, RESERVOIR])).integers(0, seen + 1))
        if place < RESERVOIR:
            history[place] = value
    return seen + 1


def _scaled(progress: float, history: Sequence[float]) -> float:
    low, high = np.quantile(history, [LOW, HIGH]).tolist()
    if high == low:
        return 0.0
    return float(np.clip(2.0 * (progress - low) / (high - low) - 1.0, -1.0, 1.0))


def _exp3s(weights_F: np.ndarray, gain_F: np.ndarray, share: float) -> np.ndarray:
    """Return log[(1 - a) exp(w + g) + a / (N - 1) · sum of the others' exp(w + g)], less its maximum."""
    raised_F = np.exp((weights_F + gain_F) - (weights_F + gain_F).max())
    others_F = (raised_F.sum() - raised_F) / (len(raised_F) - 1)
    mixed_F = np.log((1.0 - share) * raised_F + share * others_F)
    return mixed_F - mixed_F.max()
