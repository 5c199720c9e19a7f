"""Sampling by what is left to learn, as the dev splits show it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from pydantic import Field

from sslm_platform.api import DevScore, Memory, Observation, Options, Problem, SamplingState
from sslm_schedule.patterns import Tasks, last_match, task_names, unmatched


class DevGapOptions(Options):
    """Options of ``dev_gap``."""

    references: dict[str, float] = Field(
        default_factory=dict,
        description="Score of each task `name@domain` or pattern when it is trained alone, in its primary"
        " metric; default: the metric's best value.",
    )
    exploration: float = Field(
        default=0.1, ge=0.0, le=1.0, description="Share of the slots that are spread evenly."
    )


class DevGap:
    """p ~ gap, where a feed's gap is how far its tasks' dev scores are from their references.

    "Dynamic sampling" (Gottumukkala et al. 2020, "Dynamic sampling strategies for multi-task reading
    comprehension", section 3): each task as often as its score is behind that of a model of its own. To
    compare metrics of any range and direction, the gap is (reference - score) / (reference - constant), cut
    to [0, 1]: 1 is the constant predictor, 0 is the reference. Where the reference is no better than that,
    the gap is 1 until it is reached. A score that is not a number has gap 1, a feed the mean of its tasks'
    gaps. ``exploration`` keeps tasks that have reached their reference from being forgotten.

    Until the first scoring, and when no task has a gap, p = 1 / number of feeds.
    """

    def __init__(self, options: DevGapOptions) -> None:
        self.references = options.references
        self.exploration = options.exploration

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return shares by gap, (number of feeds,)."""
        gaps = state.memory.get("gaps", {})
        even_F = np.full(len(state.feeds), 1.0 / len(state.feeds))
        gaps_F = np.array([gaps.get(feed, 1.0) for feed in state.feeds])
        if gaps_F.sum() == 0.0:
            return even_F
        return (1.0 - self.exploration) * gaps_F / gaps_F.sum() + self.exploration * even_F

    def observe(self, state: SamplingState, observation: Observation) -> Memory:
        """Return the gaps by feed after a scoring."""
        if not observation.scores:
            return state.memory
        gaps = {task: self._gap(task, score) for task, score in observation.scores.items()}
        return {
            "gaps": {feed: float(np.mean([gaps[task] for task in state.tasks[feed]])) for feed in state.feeds}
        }

    def _gap(self, task: str, score: DevScore) -> float:
        given = last_match(self.references, [task])
        reference = score.best if given is None else given
        if math.isnan(score.value):
            return 1.0
        if (reference - score.constant) * (score.best - score.constant) <= 0.0:
            # no better than the constant: there is nothing between the two
            return float((reference - score.value) * (score.best - score.constant) > 0.0)
        gap = (reference - score.value) / (reference - score.constant)
        return 1.0 if math.isnan(gap) else min(max(gap, 0.0), 1.0)


def check_references(options: DevGapOptions, tasks: Tasks) -> Iterable[Problem]:
    """Yield patterns that match no task."""
    return unmatched(options.references, task_names(tasks), "references")
