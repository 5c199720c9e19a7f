"""Encoders in bf16 behind an fp32 face: heads, losses and metrics never see another precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Transform = Callable[[Tensor], Tensor]


def in_fp32(transform: Transform | None, kind: str) -> Transform | None:
    """Return a head's transform as it runs inside autocast of a kind of device: outside of it."""
    if transform is None:
        return None

    def run(hidden_BLD: Tensor) -> Tensor:
        with torch.autocast(kind, enabled=False):
            return transform(hidden_BLD.float())

    return run


class Autocast(nn.Module):
    """An encoder with fp32 weights whose products run in bf16."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self,
        input_ids_BL: Tensor,
        mask_BL: Tensor,
        segment_BL: Tensor | None = None,
        transform: Transform | None = None,
        shift_BLE: Tensor | None = None,
        **more: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Return fp32 hidden_BLD and logits_NV."""
        kind = input_ids_BL.device.type
        with torch.autocast(kind, dtype=torch.bfloat16):
            hidden_BLD, logits_NV = self.encoder(
                input_ids_BL, mask_BL, segment_BL, in_fp32(transform, kind), shift_BLE, **more
            )
        return hidden_BLD.float(), None if logits_NV is None else logits_NV.float()


class Bf16(nn.Module):
    """An encoder whose weights are bf16 (an engine keeps their fp32 masters)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self,
        input_ids_BL: Tensor,
        mask_BL: Tensor,
        segment_BL: Tensor | None = None,
        transform: Transform | None = None,
        shift_BLE: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return fp32 hidden_BLD and logits_NV."""

        def in_fp32(hidden_BLD: Tensor) -> Tensor:
            assert transform is not None
            return transform(hidden_BLD.float()).to(hidden_BLD.dtype)

        hidden_BLD, logits_NV = self.encoder(
            input_ids_BL, mask_BL, segment_BL, in_fp32 if transform is not None else None, shift_BLE
        )
        return hidden_BLD.float(), None if logits_NV is None else logits_NV.float()
