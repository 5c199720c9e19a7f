"""What a trainer may ask of an engine, whatever runs underneath."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from sslm_platform.engine.course import EVERYTHING, Phase

if TYPE_CHECKING:
    from sslm_platform.engine.consolidation import Consolidation
    from sslm_platform.engine.task_gradients import TaskGradients

TensorDict = dict[str, Tensor]


class Engine(Protocol):
    """Runs backward and step for one encoder and any number of heads.

    The encoder takes part in every step, a head only in the steps that name it: otherwise its weights and
    its optimizer state stay as they are, to the bit. In a part that steps, a parameter without a gradient
    has a gradient of zero.

    Everything but ``start_step`` and ``backward`` is collective: all ranks call it in the same order.

    Attributes:
        encoder: Call it to run the encoder's forward; states and logits are fp32 in any precision.
        heads: Name to module; fp32 in any precision. Call these: a head may have been wrapped.
        task_gradients: The encoder's gradients by task, in :meth:`backward`'s stead; None where the engine
            cannot keep them apart.
        consolidation: What holds the encoder where earlier stages need it; None where the spec has none.
    """

    rank: int
    world_size: int
    device: torch.device
    encoder: nn.Module
    heads: Mapping[str, nn.Module]
    task_gradients: TaskGradients | None
    consolidation: Consolidation | None

    def start_step(self, num_backwards: int, phase: Phase = EVERYTHING) -> None:
        """Say what is to come, equal on all ranks.

        Args:
            num_backwards: how many times :meth:`backward` will be called before :meth:`step`.
            phase: what the place in the training decides.
        """
        ...

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients of one scalar summand; the step's loss is the sum over ranks and calls.

        The loss must depend on the encoder's outputs, on every rank (multiply by zero where there is
        nothing to learn): a sharded encoder reduces its gradients inside this call.
        """
        ...

    def step(self, active_heads: Collection[str], learning_rate: float) -> dict[str, float]:
        """Clip and step the encoder and the active heads, and clear all gradients.

        Where one of the norms is not finite, nothing steps: weights and optimizer states stay as they are.

        Args:
            active_heads: Names of the heads that the step's plan uses; equal on all ranks.
            learning_rate: Share of the peak rates, in [0, 1].

        Returns:
            Global gradient norm before clipping of ``"encoder"`` and of each active head, equal on all ranks.
        """
        ...

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum over ranks, on the tensor's own device."""
        ...

    def all_gather_objects(self, value: Any) -> list[Any]:
        """Return each rank's value in the order of ranks. Values travel as JSON, at one rank too."""
        ...

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        ...

    def encoder_state(self) -> TensorDict:
        """Return the encoder's weights on the CPU, floats as fp32, named as in its ``state_dict``.

        Complete on rank 0, empty on other ranks.
        """
        ...

    def head_states(self) -> dict[str, TensorDict]:
        """Return each head's ``state_dict`` on the CPU, on rank 0; other ranks get an empty mapping."""
        ...

    def load_weights(self, encoder: Mapping[str, Tensor], heads: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Write weights as :meth:`encoder_state` and :meth:`head_states` return them, on every rank.

        Each tensor is looked up once, in turn: mappings that read from disk when asked keep memory low.
        Optimizer states stay as they are.

        Raises:
            RunError: names or shapes are not this model's.
        """
        ...

    def optimizer_state(self) -> TensorDict:
        """Return moments and step counts as full fp32 tensors on the CPU, complete on rank 0.

        Keys are ``PART/step`` and ``PART/MOMENT/PARAMETER``, where a part is ``encoder`` or
        ``heads/NAME``; averages are there too. A part that never stepped has no entries. Any engine, stage
        and number of ranks can load what another has saved.
        """
        ...

    def load_optimizer_state(self, state: Mapping[str, Tensor]) -> None:
        """Write what :meth:`optimizer_state` returned, on every rank.

        Raises:
            RunError: entries are missing or have other shapes.
        """
        ...

    def averaged(self) -> AbstractContextManager[None]:
        """While open, the weights are their averages, where the spec asks for some and there are any yet."""
        ...

    def close(self) -> None:
        """Leave the process group, if this engine made one."""
        ...
