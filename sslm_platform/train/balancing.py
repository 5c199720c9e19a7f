"""The balancer in a training: what it is shown, what it answers, and what is said of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sslm_platform.engine.task_gradients import TaskGradients
from sslm_platform.errors import PluginError, Problem
from sslm_platform.scheduling import BalancingState, LearningBalancer, Memory
from sslm_platform.spec.resolved import Bound
from sslm_platform.steps import GradientStatistics
from sslm_platform.types import BalancerDef

log = logging.getLogger(__name__)

COLLAPSED = 0.01  # of the mean of all tasks' latest weights


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of the tasks' gradients."""

    weights: Mapping[str, float]
    memory: Memory
    statistics: GradientStatistics | None


class Balancing:
    """A training's balancer.

    Attributes:
        needs_losses: whether weights depend on the step's own losses.
        needs_losses_after: whether it learns from the losses after the update.
        gradients: whether it weighs gradients.
    """

    def __init__(
        self,
        bound: Bound[BalancerDef],
        tasks: Sequence[str],
        seed: int,
        num_steps: int,
        log_gradients_every: int | None = None,
    ) -> None:
        self.name = bound.definition.name
        self.needs_losses = bound.definition.needs_losses
        self.needs_losses_after = bound.definition.needs_losses_after
        self.gradients = bound.definition.gradients
        self._log_gradients_every = log_gradients_every
        self._balancer = bound.build()
        self._start = BalancingState(0, num_steps, seed, tuple(tasks), {})
        self._last: dict[str, float] = {}  # each task's latest weight, without its sign
        self._collapsed: set[str] = set()

    def state(self, step: int, shares: Mapping[str, float], memory: Memory) -> BalancingState:
        """Return what the balancer sees before a step."""
        start = self._start
        return BalancingState(step, start.num_steps, start.seed, start.tasks, shares, memory)

    def measures(self, step: int) -> bool:
        """Whether the spec asks for this step's gradient statistics."""
        return self._log_gradients_every is not None and step % self._log_gradients_every == 0

    def weights(self, state: BalancingState) -> Mapping[str, float]:
        """Return the weight of each task's loss, 1 under a balancer of gradients; warn of one that vanishes.

        Raises:
            PluginError: a task has no weight.
        """
        if self.gradients:
            return dict.fromkeys(state.shares, 1.0)
        weights = self._balancer.weights(state)
        for task in state.shares:
            if task not in weights:
                raise PluginError(Problem(f"balancer {self.name!r}", f"gave {task} no weight"))
        self._warn({task: weights[task] for task in state.shares}, state.step)
        return {task: float(weights[task]) for task in state.shares}

    def settle(
        self, state: BalancingState, gradients: TaskGradients, weights: Mapping[str, float]
    ) -> Settled:
        """Weigh the tasks' gradients, and make their sum the encoder's.

        Args:
            state: with the step's losses.
            gradients: of the tasks' parts of the step's loss.
            weights: the losses' own, which the gradients carry already.
        """
        gramian_TT = gradients.gramian(list(state.shares))
        scales = {task: share * weights[task] for task, share in state.shares.items()}
        measured = self.measures(state.step) and bool(np.isfinite(gramian_TT).all())
        statistics = gradient_statistics(scales, gramian_TT) if measured else None
        if not self.gradients:
            gradients.combine(dict.fromkeys(weights, 1.0))
            return Settled(weights, state.memory, statistics)
        weights, memory = self.combine(state, gramian_TT)
        gradients.combine(weights)
        return Settled(weights, memory, statistics)

    def combine(self, state: BalancingState, gramian_TT: np.ndarray) -> tuple[Mapping[str, float], Memory]:
        """Return the weight of each task's gradient, and the balancer's memory.

        The gradient of a step's only task is left as it is, and tasks without one (a step may hold none of
        their targets) are as absent. Where a method finds no finite weights, the gradients are added up, with
        a warning. Gradients that are not finite are added up too: no step will be taken with them.
        """
        ones = dict.fromkeys(state.shares, 1.0)
        if not np.isfinite(gramian_TT).all():
            return ones, state.memory
        present = np.flatnonzero(np.diag(gramian_TT) > 0.0)
        if len(present) < 2:
            return ones, state.memory
        shares = [item for i, item in enumerate(state.shares.items()) if i in present]
        values, memory = self._balancer.combine(
            replace(state, shares=dict(shares)), gramian_TT[np.ix_(present, present)]
        )
        if not np.isfinite(values).all():
            log.warning("balancer %r: step %d: no finite weights, all weigh 1", self.name, state.step + 1)
            return ones, state.memory
        weights = {task: float(value) for (task, _), value in zip(shares, values, strict=True)}
        self._warn(weights, state.step)
        return ones | weights, memory

    def observe(self, state: BalancingState) -> Memory:
        """Return the balancer's memory after a step."""
        if isinstance(self._balancer, LearningBalancer):
            return self._balancer.observe(state)
        return state.memory

    def _warn(self, weights: Mapping[str, float], step: int) -> None:
        """Say of a task that it hardly weighs anything beside the others, in this step or their last ones."""
        self._last |= {task: abs(weight) for task, weight in weights.items()}
        mean = sum(self._last.values()) / len(self._last)
        for task in weights:
            weight = self._last[task]
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


def gradient_statistics(scales: Mapping[str, float], gramian_TT: np.ndarray) -> GradientStatistics:
    """Return norms, cosines and the conflict rate of gradients of scale_t · loss_t from their Gramian."""
    tasks = list(scales)
    norms_T = np.sqrt(np.maximum(np.diag(gramian_TT), 0.0))
    product_TT = np.outer(norms_T, norms_T)
    cosines_TT = np.divide(gramian_TT, product_TT, out=np.zeros_like(gramian_TT), where=product_TT > 0)
    pairs = [(i, j) for i in range(len(tasks)) for j in range(i + 1, len(tasks))]
    cosines: dict[str, dict[str, float]] = {task: {} for task in tasks[:-1]}
    for i, j in pairs:
        cosines[tasks[i]][tasks[j]] = float(cosines_TT[i, j])
    return GradientStatistics(
        norms={
            task: float(norm) / scales[task] if scales[task] else 0.0
            for task, norm in zip(tasks, norms_T, strict=True)
        },
        cosines=cosines,
        conflict_rate=float(np.mean([cosines_TT[pair] < 0 for pair in pairs])) if pairs else None,
    )
