"""The head: encoder states to outputs, outputs to predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslm_example.options import BoundedOptions
from sslm_platform.api import Targets


class BoundedRegressor(nn.Module):
    """low + (high - low) sigmoid(w x + b): no prediction leaves the scale."""

    def __init__(self, options: BoundedOptions, hidden_size: int) -> None:
        super().__init__()
        self.low, self.high = options.low, options.high
        self.output = nn.Linear(hidden_size, 1)

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Average the states of each example's tokens, (B, D). Parameter-free: probes cache it."""
        mask_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
        return (hidden_BLD * mask_BL1).sum(dim=1) / mask_BL1.sum(dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, D) to values (B,)."""
        return self.low + (self.high - self.low) * torch.sigmoid(self.output(features).squeeze(-1))

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[float]:
        """Return each example's value."""
        return outputs.tolist()
