"""The step plan: which examples of which feed make up each optimizer step.

A plan is a pure function of the seed, the step, the feeds' positions and the sampler's memory; it never
depends on the rank or the number of ranks, so that all ranks call the same modules in the same order, and a
run can go on elsewhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sslm_platform.errors import PluginError, Problem
from sslm_platform.scheduling import (
    LearningSampler,
    Memory,
    Observation,
    Sampler,
    SamplingState,
    StagedSampler,
)

EpochBatches = Callable[[str, int], Sequence[np.ndarray]]
"""(feed, epoch) -> the batches of that pass: every example once, in order."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a feed stands: the next batch of a pass over its examples."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """One global micro-batch: rows of a feed's training split."""

    feed: str
    epoch: int
    rows: np.ndarray


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The slots of one optimizer step, and where the feeds stand afterwards.

    ``probabilities`` are the sampler's, of each feed, averaged over the slots.
    """

    step: int
    slots: tuple[Slot, ...]
    positions: Mapping[str, Position]
    probabilities: Mapping[str, float]

    @property
    def counts(self) -> dict[str, int]:
        """Number of slots of each feed in this step."""
        return dict(Counter(slot.feed for slot in self.slots))


class Planner:
    """Draws step plans for a set of feeds.

    Attributes:
        sizes: training examples of each feed; a feed without examples is an error of the caller.
    """

    def __init__(
        self,
        sampler: Sampler,
        sizes: Mapping[str, int],
        batches: EpochBatches,
        *,
        seed: int,
        slots_per_step: int,
        num_steps: int,
        tasks: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        assert sizes
        assert all(sizes.values())
        self.sampler = sampler
        self.sizes = dict(sizes)
        self.batches = batches
        self.seed = seed
        self.slots_per_step = slots_per_step
        self.num_steps = num_steps
        self.tasks = dict(tasks or {})

    def start(self) -> dict[str, Position]:
        """Return the positions before the first step."""
        return {feed: Position() for feed in self.sizes}

    def plan(self, step: int, positions: Mapping[str, Position], memory: Memory | None = None) -> StepPlan:
        """Return the plan of a step that starts with the feeds at ``positions``."""
        probabilities_SF = self._probabilities(self._state(step, memory or {}))
        uniform_S = np.random.Generator(np.random.Philox(key=[self.seed, step])).random(self.slots_per_step)
        feeds = list(self.sizes)
        after = dict(positions)
        slots = []
        for probabilities_F, uniform in zip(probabilities_SF, uniform_S, strict=True):
            feed = feeds[_draw(probabilities_F, uniform)]
            position = after[feed]
            epoch_batches = self.batches(feed, position.epoch)
            slots.append(Slot(feed, position.epoch, epoch_batches[position.batch]))
            last = position.batch + 1 == len(epoch_batches)
            after[feed] = (
                Position(position.epoch + 1) if last else Position(position.epoch, position.batch + 1)
            )
        mean_F = np.mean(probabilities_SF, axis=0).tolist()
        return StepPlan(step, tuple(slots), after, dict(zip(feeds, mean_F, strict=True)))

    def observe(self, step: int, memory: Memory, observation: Observation) -> Memory:
        """Return the sampler's memory after it saw what a step has shown."""
        if not isinstance(self.sampler, LearningSampler):
            return memory
        return self.sampler.observe(self._state(step, memory), observation)

    def stages(self) -> Sequence[tuple[int, Sequence[str]]]:
        """Return, of each of the sampler's stages, how many steps are done when it ends, and its feeds."""
        if not isinstance(self.sampler, StagedSampler):
            return []
        return self.sampler.stages(self._state(0, {}))

    def passes(self, positions: Mapping[str, Position]) -> dict[str, float]:
        """Return how often each feed has been passed through."""
        return {
            feed: p.epoch + (p.batch / len(self.batches(feed, p.epoch)) if p.batch else 0)
            for feed, p in positions.items()
        }

    def _state(self, step: int, memory: Memory) -> SamplingState:
        return SamplingState(
            step=step,
            num_steps=self.num_steps,
            feeds=tuple(self.sizes),
            sizes=tuple(self.sizes.values()),
            tasks=self.tasks,
            slots_per_step=self.slots_per_step,
            memory=memory,
        )

    def _probabilities(self, state: SamplingState) -> np.ndarray:
        """Return the sampler's probabilities for each slot of a step, (slots, feeds)."""
        slots = (replace(state, slot=slot) for slot in range(self.slots_per_step))
        rows = [np.asarray(self.sampler.probabilities(slot), dtype=np.float64) for slot in slots]
        for row_F in rows:
            if row_F.shape != (len(self.sizes),) or not (row_F.min() >= 0.0 and 0.0 < row_F.sum() < np.inf):
                name = type(self.sampler).__name__
                what = f"step {state.step + 1}: no probabilities of {len(self.sizes)} feeds: {row_F.tolist()}"
                raise PluginError(Problem(f"sampler {name}", what))
        rows_SF = np.stack(rows)
        return rows_SF / rows_SF.sum(axis=1, keepdims=True)


def _draw(probabilities_F: np.ndarray, uniform: float) -> int:
    """Return the index whose share of [0, 1) a number falls into; never one of probability 0."""
    bounds_F = probabilities_F.cumsum()
    return int(np.searchsorted(bounds_F / bounds_F[-1], uniform, side="right"))


def steps_of_epochs(epochs: float, batches_per_pass: Sequence[int], slots_per_step: int) -> int:
    """Return the steps that make ``epochs`` passes over all feeds together, at least one."""
    return max(1, math.ceil(epochs * sum(batches_per_pass) / slots_per_step))


def rank_rows(rows: np.ndarray, rank: int, world_size: int) -> np.ndarray:
    """Return a rank's examples of a slot: neighbours in length go to different ranks, so work is even."""
    return rows[rank::world_size]


def task_shares(slot_tasks: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the slots of each task of a step, divided by all slots of the step; sorted by task.

    Args:
        slot_tasks: the tasks of each slot.
    """
    slots = Counter(task for tasks in slot_tasks for task in tasks)
    return {task: slots[task] / len(slot_tasks) for task in sorted(slots)}


def loss_factors(
    shares: Mapping[str, float],
    weights: Mapping[str, float],
    totals: Mapping[str, float],
) -> dict[str, float]:
    """Return each task's factor on a slot's *summed* loss.

    The step's loss is ``sum_t (slots_t / slots) * w_t * (sum loss_t / sum weight_t)``: the sampler's shares
    act through the slots, the balancer's through ``w_t``.

    Args:
        shares: what :func:`task_shares` gave.
        weights: the balancer's weight of each task of the step.
        totals: each task's weight (examples, tokens) summed over all slots and ranks of the step.
    """
    return {
        task: share * weights[task] / totals[task] if totals[task] > 0 else 0.0
        for task, share in shares.items()
    }
