"""The batches of a step; on a GPU those of the next step are made while it computes this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar

import torch

from sslm_platform.schedule.plan import Planner, Slot, StepPlan
from sslm_platform.scheduling import LearningSampler

T = TypeVar("T")


class Fetcher(Generic[T]):
    """Makes a plan's batches, and perhaps those of the plan that comes next, in a thread of its own.

    While the main thread waits for the device, the other has the processor. Where it is the processor that
    computes, a thread would take its time.

    Args:
        make: makes the batch of one slot; what it does depends on the slot alone.
        following: returns the plan after a plan, or None; None as the argument: nothing is made ahead.
        device: where the batches go.
    """

    def __init__(
        self,
        make: Callable[[Slot], T],
        following: Callable[[StepPlan], StepPlan | None] | None = None,
        device: torch.device | None = None,
    ) -> None:
        self._make = make
        self._following = following
        # a new thread begins on the first GPU, and would take memory there for what it pins
        bind = partial(torch.cuda.set_device, device) if device is not None and device.index else None
        self._pool = ThreadPoolExecutor(1, initializer=bind) if following is not None else None
        self._ahead: tuple[int, Future[list[T]]] | None = None

    def __call__(self, plan: StepPlan) -> list[T]:
        """Return the batches of a plan's slots."""
        made = self._ahead[1].result() if self._ahead and self._ahead[0] == plan.step else None
        batches = made if made is not None else self._all(plan.slots)
        self._ahead = None
        if self._pool is not None and self._following is not None:
            following = self._following(plan)
            if following is not None:
                self._ahead = following.step, self._pool.submit(self._all, following.slots)
        return batches

    def __enter__(self) -> Fetcher[T]:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is under way, and forget it."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _all(self, slots: Sequence[Slot]) -> list[T]:
        return [self._make(slot) for slot in slots]


def plans_ahead(planner: Planner, device: torch.device) -> Callable[[StepPlan], StepPlan | None] | None:
    """Return what gives the plan after a plan; None where nothing is gained or the plan is not known yet.

    A sampler that learns goes by what the step before has shown.
    """
    if device.type != "cuda" or isinstance(planner.sampler, LearningSampler):
        return None

    def following(plan: StepPlan) -> StepPlan | None:
        step = plan.step + 1
        return planner.plan(step, plan.positions) if step < planner.num_steps else None

    return following
