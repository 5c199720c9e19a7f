"""The shared encoder: a ``transformers`` backbone that can also project onto its own embedding matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class SharedEncoder(nn.Module):
    """Tokens to states, and for tied heads states to vocabulary logits.

    The projection happens inside this module so that a sharding engine, which owns the embedding matrix,
    gathers it and sums its two gradients.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.takes_segments = getattr(backbone.config, "type_vocab_size", 0) > 1

    @property
    def hidden_size(self) -> int:
        """Width of the states."""
        return int(self.backbone.config.hidden_size)

    def forward(
        self,
        input_ids_BL: Tensor,
        mask_BL: Tensor,
        segment_BL: Tensor | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return hidden_BLD and, with ``transform`` (hidden_BLD to states_ND), logits_NV."""
        extra = {"token_type_ids": segment_BL} if self.takes_segments and segment_BL is not None else {}
        hidden_BLD = self.backbone(input_ids=input_ids_BL, attention_mask=mask_BL, **extra).last_hidden_state
        if transform is None:
            return hidden_BLD, None
        embedding_VD = self.backbone.get_input_embeddings().weight
        return hidden_BLD, linear(transform(hidden_BLD), embedding_VD)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split trainable parameters into decayed ones and biases and norms (one-dimensional), not decayed."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = (
        {"params": [p for p in trainable if _rank(p) >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if _rank(p) < 2], "weight_decay": 0.0},
    )
    return [group for group in groups if group["params"]]


def _rank(parameter: torch.nn.Parameter) -> int:
    return len(getattr(parameter, "ds_shape", parameter.shape))
