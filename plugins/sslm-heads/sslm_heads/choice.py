"""A score for each of some candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from sslm_heads.layers import linear, pool
from sslm_heads.options import ChoiceOptions
from sslm_platform.api import HeadContext, Targets, rows_by_example


class ChoiceScorer(nn.Module):
    """Logits (N,) of texts read with a candidate: pooled states, dropout, [dense, tanh, dropout,] linear."""

    def __init__(self, options: ChoiceOptions, context: HeadContext) -> None:
        super().__init__()
        self.pooling = options.pooling
        layers: list[nn.Module] = [nn.Dropout(options.dropout)]
        if options.hidden_layer:
            size = context.hidden_size
            layers += [linear(size, size), nn.Tanh(), nn.Dropout(options.dropout)]
        self.layers = nn.Sequential(*layers, linear(context.hidden_size, 1))

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Pool the states of each candidate's tokens and the text's, (N, D)."""
        return pool(hidden_BLD[targets["row"]], mask_BL[targets["row"]], self.pooling)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, D) to logits (N,)."""
        return self.layers(features).squeeze(-1)

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return the places of each example's candidates, best first; of equal ones the first."""
        logits_N, example_N = outputs.double().cpu().numpy(), targets["example"].cpu().numpy()
        parts = rows_by_example(logits_N, example_N, num_examples)
        return [np.argsort(-part, kind="stable") for part in parts]
