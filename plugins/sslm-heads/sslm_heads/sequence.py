"""Heads that read one vector for each example."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from sslm_heads.layers import linear, pool
from sslm_heads.options import MultilabelOptions, OrdinalOptions, SequenceOptions
from sslm_heads.ranks import ranked
from sslm_heads.threshold import best_threshold
from sslm_platform.api import HeadContext, Scored, Targets


class _SequenceHead(nn.Module):
    """Pooled states (B, D) to (B, width): dropout, [dense, tanh, dropout,] linear."""

    def __init__(self, options: SequenceOptions, hidden_size: int, width: int) -> None:
        super().__init__()
        self.pooling = options.pooling
        if options.pooling == "markers":
            hidden_size *= 2
        layers: list[nn.Module] = [nn.Dropout(options.dropout)]
        if options.hidden_layer:
            layers += [linear(hidden_size, hidden_size), nn.Tanh(), nn.Dropout(options.dropout)]
        self.layers = nn.Sequential(*layers, linear(hidden_size, width))

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Pool the states of each example's tokens, special ones included, (B, D); of markers (B, 2 D)."""
        if self.pooling == "markers":
            rows_B1 = torch.arange(len(hidden_BLD), device=hidden_BLD.device).unsqueeze(1)
            return hidden_BLD[rows_B1, targets["markers"]].flatten(1)
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


class MultilabelClassifier(_SequenceHead):
    """Logits (B, num_labels), each of one label by itself, and one threshold for all labels."""

    threshold: Tensor

    def __init__(self, options: MultilabelOptions, context: HeadContext) -> None:
        super().__init__(options, context.hidden_size, len(context.labels))
        self.is_fixed = options.threshold is not None
        self.register_buffer("threshold", torch.tensor(options.threshold or 0.5, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, D) to logits (B, num_labels)."""
        return self.layers(features)

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return the ids of each example's labels, rising."""
        return self.decide(self.scores(outputs, targets, num_examples))

    def scores(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return each label's probability, (num_labels,) for each example."""
        return list(torch.sigmoid(outputs.double()).cpu().numpy())

    def decide(self, scores: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Return the ids of the labels whose probability reaches the threshold."""
        threshold = float(self.threshold)
        return [np.flatnonzero(score_K >= threshold) for score_K in scores]

    def tune(self, scored: Scored) -> None:
        """Take the threshold whose micro F1 is best, unless the spec fixes one."""
        if not self.is_fixed and scored.scores:
            self.threshold.fill_(best_threshold(np.stack(scored.scores), scored.references))


class OrdinalClassifier(_SequenceHead):
    """Log probabilities (B, num_labels) of the proportional-odds model (McCullagh 1980, section 2).

    P(y <= k) = sigmoid(theta_k - f(x)), with theta rising, so that one number f(x) orders the examples. The
    outputs are normalized: cross entropy of them is the model's own likelihood.
    """

    rank: Tensor

    def __init__(self, options: OrdinalOptions, context: HeadContext) -> None:
        super().__init__(options, context.hidden_size, 1)
        order = ranked(options.order, context.labels)
        self.register_buffer("rank", torch.tensor([order.index(label) for label in context.labels]))
        num_cuts = len(order) - 1
        self.first = nn.Parameter(torch.tensor(-(num_cuts - 1) / 2))
        self.gaps = nn.Parameter(torch.full((num_cuts - 1,), math.log(math.e - 1)))  # softplus of it is 1

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, D) to log probabilities (B, num_labels)."""
        gap = nn.functional.softplus(self.gaps)
        sums = gap.new_ones(len(gap), len(gap)).tril() @ gap  # torch's cumsum has no fixed order on a GPU
        above_BC = self.first + torch.cat([gap.new_zeros(1), sums]) - self.layers(features)
        low_B1, high_B1 = logsigmoid(above_BC[:, :1]), logsigmoid(-above_BC[:, -1:])
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a))
        between = logsigmoid(above_BC[:, 1:]) + logsigmoid(-above_BC[:, :-1]) + torch.log(-torch.expm1(-gap))
        return torch.cat([low_B1, between, high_B1], dim=1)[:, self.rank]

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
