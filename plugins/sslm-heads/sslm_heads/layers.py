"""Layers that the heads share."""

from __future__ import annotations

from torch import Tensor, nn

INIT_STD = 0.02  # BERT's initializer_range (Devlin et al. 2019)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer with BERT's initialization."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=INIT_STD)
    nn.init.zeros_(layer.bias)
    return layer


def pool(hidden_BLD: Tensor, mask_BL: Tensor, how: str) -> Tensor:
    """Reduce states to (B, D) over the positions where ``mask_BL`` is not 0: ``mean``, ``max`` or ``cls``."""
    if how == "cls":
        return hidden_BLD[:, 0]
    mask_BL1 = mask_BL.unsqueeze(-1).bool()
    if how == "max":
        return hidden_BLD.masked_fill(~mask_BL1, float("-inf")).amax(dim=1)
    return hidden_BLD.masked_fill(~mask_BL1, 0.0).sum(dim=1) / mask_BL1.sum(dim=1)
