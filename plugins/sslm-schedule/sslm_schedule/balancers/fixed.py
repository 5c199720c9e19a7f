"""Balancers with fixed weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

from sslm_platform.api import BalancingState, Options, Problem
from sslm_schedule.patterns import Tasks, last_match, task_names, unmatched


class StaticOptions(Options):
    """Options of ``static``."""

    weights: dict[str, Annotated[float, Field(gt=0.0)]] = Field(
        default_factory=dict,
        description="Weight for each task `name@domain` or pattern (`*@tweets`); the last that matches"
        " counts; tasks that match none weigh 1.",
    )


class Equal:
    """Every task's mean loss weighs 1.

    The baseline of every comparison: well tuned, it is hard to beat (Kurin et al. 2022, "In defense of the
    unitary scalarization for deep multi-task learning").
    """

    def weights(self, state: BalancingState) -> Mapping[str, float]:
        """Return 1 for every task."""
        return dict.fromkeys(state.shares, 1.0)


class Static:
    """Weights by task name or pattern; a task's weight is the same in every step that has it."""

    def __init__(self, options: StaticOptions) -> None:
        self.patterns = options.weights

    def weights(self, state: BalancingState) -> Mapping[str, float]:
        """Return the weight of the last pattern that matches each task, else 1."""
        found = {task: last_match(self.patterns, [task]) for task in state.shares}
        return {task: 1.0 if weight is None else weight for task, weight in found.items()}


def check_weights(options: StaticOptions, tasks: Tasks) -> Iterable[Problem]:
    """Yield patterns that match no task."""
    return unmatched(options.weights, task_names(tasks), "weights")
