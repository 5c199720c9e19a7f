"""The balancer in a training: what it is shown, what it answers, and what is said of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from sslm_platform.errors import PluginError, Problem
from sslm_platform.interfaces import BalancingState, LearningBalancer, Memory
from sslm_platform.spec.resolved import Bound
from sslm_platform.types import BalancerDef

log = logging.getLogger(__name__)

COLLAPSED = 0.01  # of the mean weight of the step's tasks


class Balancing:
    """A training's balancer.

    Attributes:
        needs_losses: whether weights depend on the step's own losses.
        needs_losses_after: whether it learns from the losses after the update.
    """

    def __init__(self, bound: Bound[BalancerDef], tasks: Sequence[str], seed: int, num_steps: int) -> None:
        self.name = bound.definition.name
        self.needs_losses = bound.definition.needs_losses
        self.needs_losses_after = bound.definition.needs_losses_after
        self._balancer = bound.build()
        self._start = BalancingState(0, num_steps, seed, tuple(tasks), {})
        self._collapsed: set[str] = set()

    def state(self, step: int, shares: Mapping[str, float], memory: Memory) -> BalancingState:
        """Return what the balancer sees before a step."""
        start = self._start
        return BalancingState(step, start.num_steps, start.seed, start.tasks, shares, memory)

    def weights(self, state: BalancingState) -> Mapping[str, float]:
        """Return the weight of each task of the step, and warn of the first that has nearly vanished.

        Raises:
            PluginError: a task has no weight.
        """
        weights = self._balancer.weights(state)
        for task in state.shares:
            if task not in weights:
                raise PluginError(Problem(f"balancer {self.name!r}", f"gave {task} no weight"))
        self._warn({task: weights[task] for task in state.shares}, state.step)
        return {task: float(weights[task]) for task in state.shares}

    def observe(self, state: BalancingState) -> Memory:
        """Return the balancer's memory after a step."""
        if isinstance(self._balancer, LearningBalancer):
            return self._balancer.observe(state)
        return state.memory

    def _warn(self, weights: Mapping[str, float], step: int) -> None:
        mean = sum(weights.values()) / len(weights)
        for task, weight in weights.items():
            if weight < COLLAPSED * mean and task not in self._collapsed:
                self._collapsed.add(task)
                log.warning(
                    "balancer %r: step %d: %s weighs %.2g, under %g of the tasks' mean weight: it is hardly"
                    " trained",
                    self.name,
                    step + 1,
                    task,
                    weight,
                    COLLAPSED,
                )
