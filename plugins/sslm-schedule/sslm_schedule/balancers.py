"""Balancers with fixed weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from sslm_platform.api import Options, Problem, SpecError, suggest

WHERE = "balancer.options.weights"


class StaticOptions(Options):
    """Options of ``static``."""

    weights: dict[str, Annotated[float, Field(gt=0.0)]] = Field(
        default_factory=dict,
        description="Weight for each task `name@domain` or pattern (`*@tweets`); the last that matches"
        " counts; tasks that match none weigh 1.",
    )


class Equal:
    """Every task's mean loss weighs 1."""

    def weights(self, tasks: Sequence[str]) -> Mapping[str, float]:
        """Return 1 for every task."""
        return dict.fromkeys(tasks, 1.0)


class Static:
    """Weights by task name or pattern."""

    def __init__(self, options: StaticOptions) -> None:
        self.patterns = options.weights

    def weights(self, tasks: Sequence[str]) -> Mapping[str, float]:
        """Return the weight of the last pattern that matches each task, else 1.

        Raises:
            SpecError: a pattern matches no task.
        """
        weights = dict.fromkeys(tasks, 1.0)
        for pattern, weight in self.patterns.items():
            matching = [task for task in tasks if fnmatchcase(task, pattern)]
            if not matching:
                raise SpecError(
                    Problem(
                        "balancer.options.weights", f"{pattern!r} matches no task{suggest(pattern, tasks)}"
                    )
                )
            weights.update(dict.fromkeys(matching, weight))
        return weights
