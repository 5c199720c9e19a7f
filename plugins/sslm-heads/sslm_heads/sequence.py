"""Heads that read one vector for each example."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sslm_heads.layers import linear, pool
from sslm_heads.options import SequenceOptions
from sslm_platform.api import HeadContext, Targets


class _SequenceHead(nn.Module):
    """Pooled states (B, D) to (B, width): dropout, [dense, tanh, dropout,] linear."""

    def __init__(self, options: SequenceOptions, hidden_size: int, width: int) -> None:
        super().__init__()
        self.pooling = options.pooling
        layers: list[nn.Module] = [nn.Dropout(options.dropout)]
        if options.hidden_layer:
            layers += [linear(hidden_size, hidden_size), nn.Tanh(), nn.Dropout(options.dropout)]
        self.layers = nn.Sequential(*layers, linear(hidden_size, width))

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Pool the states of each example's tokens, special ones included, (B, D)."""
        return pool(hidden_BLD, mask_BL, self.pooling)


class SequenceClassifier(_SequenceHead):
    """Logits (B, num_labels)."""

    def __init__(self, options: SequenceOptions, context: HeadContext) -> None:
        super().__init__(options, context.hidden_size, len(context.labels))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, D) to logits (B, num_labels)."""
        return self.layers(features)

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[int]:
        """Return the id of each example's likeliest label."""
        return outputs.argmax(dim=-1).tolist()


class SequenceRegressor(_SequenceHead):
    """Values (B,)."""

    def __init__(self, options: SequenceOptions, context: HeadContext) -> None:
        super().__init__(options, context.hidden_size, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, D) to values (B,)."""
        return self.layers(features).squeeze(-1)

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[float]:
        """Return each example's value."""
        return outputs.tolist()
