"""What samplers and balancers look at, and what they say: which feed is next, and how tasks are weighed.

Shape suffixes: T tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

Memory = Mapping[str, Any]
"""What a sampler or balancer has learned: JSON content, kept in checkpoints; empty at the start."""


@dataclass(frozen=True, slots=True)
class SamplingState:
    """What a sampler may look at for one slot: never the rank or the number of ranks."""

    step: int
    num_steps: int
    feeds: tuple[str, ...]
    sizes: tuple[int, ...]  # training examples in each feed
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of each feed; a slot may have some
    slot: int = 0  # of the step's
    slots_per_step: int = 1
    memory: Memory = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DevScore:
    """A task's primary metric on its dev split, beside the constant predictor's and a perfect one's."""

    value: float
    constant: float
    best: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What training has shown, equal on all ranks: losses after every step, scores after a scoring."""

    slots: Mapping[str, int] = field(default_factory=dict)  # of each feed that was drawn
    losses: Mapping[str, float] = field(default_factory=dict)  # mean over the step's examples, by task
    scores: Mapping[str, DevScore] = field(default_factory=dict)  # by task


class Sampler(Protocol):
    """Made by a :class:`~sslm_platform.types.SamplerDef`; a pure function of its state."""

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return the probability that this slot is drawn from each feed; sums to 1."""
        ...


@runtime_checkable
class LearningSampler(Sampler, Protocol):
    """A sampler that follows the training; what it has seen is in ``state.memory`` and nowhere else."""

    def observe(self, state: SamplingState, observation: Observation) -> Memory:
        """Return the memory that the next slots see."""
        ...


@runtime_checkable
class StagedSampler(Sampler, Protocol):
    """A sampler whose training has stages."""

    def stages(self, state: SamplingState) -> Sequence[tuple[int, Sequence[str]]]:
        """Return, of each stage in order, how many steps are done when it ends, and the feeds it is about."""
        ...


@dataclass(frozen=True, slots=True)
class BalancingState:
    """What a balancer may look at in one step, equal on all ranks.

    Attributes:
        tasks: all tasks of the training, sorted; most steps have but some of them.
        shares: slots of each task of this step, sorted, divided by all slots of the step.
        losses: this step's mean losses, before its update; for ``weights`` only where the definition
            ``needs_losses``. A task none of whose examples has a target has no loss.
        losses_after: the same examples' losses after the update, where it ``needs_losses_after``.
    """

    step: int
    num_steps: int
    seed: int
    tasks: tuple[str, ...]
    shares: Mapping[str, float]
    memory: Memory = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    losses_after: Mapping[str, float] = field(default_factory=dict)


class Balancer(Protocol):
    """Made by a :class:`~sslm_platform.types.BalancerDef`; a pure function of its state."""

    def weights(self, state: BalancingState) -> Mapping[str, float]:
        """Return the weight >= 0 of each task of this step, w_t in sum_t share_t · w_t · loss_t."""
        ...


@runtime_checkable
class GradientBalancer(Protocol):
    """A balancer of gradients, one for each task, made by a definition with ``gradients``."""

    def combine(self, state: BalancingState, gramian_TT: np.ndarray) -> tuple[Sequence[float], Memory]:
        """Return the weight of each task's gradient of the encoder, and the memory that the next step sees.

        Args:
            state: with this step's losses.
            gramian_TT: inner products of the gradients of the tasks' parts of the step's loss,
                share_t · loss_t, of ``balancer.scope``, in the order of ``state.shares``; T >= 2 tasks.
        """
        ...


@runtime_checkable
class LearningBalancer(Balancer, Protocol):
    """A balancer that follows the losses; what it has seen is in ``state.memory`` and nowhere else."""

    def observe(self, state: BalancingState) -> Memory:
        """Return the memory that the next step sees."""
        ...
