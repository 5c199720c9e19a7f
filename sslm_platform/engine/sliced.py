"""An encoder in two, cut between them when each task's gradient is wanted for itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from sslm_platform.engine.precision import Transform, in_fp32


class Splittable(Protocol):
    """An encoder of which a small last part can be had for itself."""

    def split(self) -> tuple[nn.Module, nn.Module]:
        """Return trunk and slice, sharing this module's parameters and naming them as it does.

        ``trunk(input_ids_BL, mask_BL, segment_BL, tied, shift_BLE)`` returns a mapping; with ``tied`` it has
        all that logits need. ``slice(mapping, transform)`` returns what the encoder would.
        """
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """Where one encoder call was cut: what the trunk gave, and what the slice got in its place."""

    given: tuple[Tensor, ...]
    taken: tuple[Tensor, ...]


class SlicedEncoder(nn.Module):
    """Trunk and slice, called as the encoder that they are from.

    Args:
        trunk: see :class:`Splittable`; an engine may put another callable in its place.
        top: the slice.
        bf16: run the slice in autocast, and hand it fp32; for a trunk whose weights are bf16.

    Attributes:
        cut: whether calls with gradients are cut: none passes from the slice to the trunk.
    """

    def __init__(self, trunk: nn.Module, top: nn.Module, *, bf16: bool = False) -> None:
        super().__init__()
        self.trunk = trunk
        self.top = top
        self.cut = False
        self._bf16 = bf16
        self._cuts: list[Cut] = []

    def forward(
        self,
        input_ids_BL: Tensor,
        mask_BL: Tensor,
        segment_BL: Tensor | None = None,
        transform: Transform | None = None,
        shift_BLE: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return fp32 hidden_BLD and logits_NV."""
        inputs = self.trunk(input_ids_BL, mask_BL, segment_BL, transform is not None, shift_BLE)
        if self._bf16:
            inputs = {name: _in_fp32(value) for name, value in inputs.items()}
            transform = in_fp32(transform, input_ids_BL.device.type)
        if self.cut and torch.is_grad_enabled():
            inputs = self._cut(inputs)
        with self._precision(input_ids_BL.device.type):
            hidden_BLD, logits_NV = self.top(inputs, transform)
        return hidden_BLD.float(), None if logits_NV is None else logits_NV.float()

    def _precision(self, kind: str) -> AbstractContextManager[Any]:
        return torch.autocast(kind, torch.bfloat16) if self._bf16 else nullcontext()

    @property
    def top_parameters(self) -> dict[str, nn.Parameter]:
        """What the slice has to train, named as in the encoder."""
        return {name: p for name, p in self.top.named_parameters() if p.requires_grad}

    def _cut(self, inputs: dict[str, Any]) -> dict[str, Any]:
        given = {n: value for n, value in inputs.items() if isinstance(value, Tensor) and value.requires_grad}
        taken = {name: value.detach().requires_grad_() for name, value in given.items()}
        self._cuts.append(Cut(tuple(given.values()), tuple(taken.values())))
        return inputs | taken

    def take_cuts(self) -> list[Cut]:
        """Return the calls' cuts since the last time, and forget them."""
        cuts, self._cuts = self._cuts, []
        return cuts


def slice_of(encoder: nn.Module, *, bf16: bool = False) -> SlicedEncoder:
    """Return the two parts of an encoder with ``split``, called as one."""
    trunk, top = cast(Splittable, encoder).split()
    return SlicedEncoder(trunk, top, bf16=bf16)


def _in_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
