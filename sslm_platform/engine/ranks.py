"""An encoder's adapter whose ranks are taken away while it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn


class RankSchedule(Protocol):
    """What an encoder with such an adapter has, and an engine calls in each step."""

    def pull(self) -> None:
        """Add what the method adds to the loss to the gradients, before they are clipped."""
        ...

    def stepped(self, step: int, num_steps: int) -> None:
        """Take ranks away by the step's gradients, which are still there."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return what it has seen, on the CPU."""
        ...

    def load_state(self, saved: Mapping[str, Tensor]) -> None:
        """Read its entries of a saved state."""
        ...


def rank_schedule_of(encoder: nn.Module) -> RankSchedule | None:
    """Return an encoder's schedule, if it has one."""
    make: Any = getattr(encoder, "rank_schedule", None)
    found: RankSchedule | None = make() if make is not None else None
    return found
