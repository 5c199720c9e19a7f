"""A batch passed through encoder, head and objective more than once: what wrappers see and do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from sslm_platform.interfaces import Targets


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a batch through encoder, head and objective; ``losses_B`` are sums, as the objective's."""

    outputs: Tensor
    losses_B: Tensor
    targets: Targets


class Passes(Protocol):
    """A task's batch of one slot, to be passed through as often as a :class:`Wrapper` needs.

    E is the width of the embeddings. Attributes:
        mask_BL: bool, True for tokens.
    """

    mask_BL: Tensor

    def __call__(self, shift_BLE: Tensor | None = None) -> Pass:
        """Pass the batch through; ``shift_BLE`` is added to what the token embedding gives."""
        ...

    def noise(self, draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]) -> Tensor:
        """Return (B, L, E): ``draw(generator, (tokens, E))`` of each example's own generator, 0 at padding.

        The generators are keyed by (seed, epoch, example), and go on from call to call.
        """
        ...

    def gradient(self, loss: Tensor, shift_BLE: Tensor) -> Tensor:
        """Return the gradient of a scalar; nothing is accumulated. For definitions with ``probes``."""
        ...


class Wrapper(Protocol):
    """Made by a :class:`~sslm_platform.types.WrapperDef`. The number of passes depends on the options alone.

    Attributes:
        num_backwards: how many losses :meth:`losses` yields.
    """

    num_backwards: int

    def losses(self, passes: Passes) -> Iterator[Tensor]:
        """Yield the summands of each example's loss, (B,), one by one.

        Each is back-propagated, times a factor >= 0, before the next is asked for, so that by then the shifts
        that it depends on have a ``grad``.
        """
        ...
