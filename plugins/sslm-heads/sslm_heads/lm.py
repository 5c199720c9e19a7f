"""BERT's masked-language-model head (Devlin et al. 2019; ``cls.predictions`` of the released model)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sslm_heads.layers import linear
from sslm_platform.api import HeadContext, Targets, rows_by_example


class Projection(nn.Module):
    """Logits (N, vocabulary size): dense, GELU, layer norm, the embedding matrix (the encoder's), bias.

    Its first weights are those of the encoder's own head, where its checkpoint has one.
    """

    def __init__(self, context: HeadContext) -> None:
        super().__init__()
        self.dense = linear(context.hidden_size, context.hidden_size)
        self.norm = nn.LayerNorm(context.hidden_size, eps=context.norm_eps)
        self.bias = nn.Parameter(torch.zeros(context.vocabulary_size))
        if context.lm_head is not None:
            self.load_state_dict(dict(context.lm_head))

    def transform(self, features: Tensor) -> Tensor:
        """Map (N, D) to the (N, D) that is multiplied with the embedding matrix."""
        return self.norm(nn.functional.gelu(self.dense(features)))

    def forward(self, projected_NV: Tensor) -> Tensor:
        """Add the bias to the products with the embedding matrix, (N, vocabulary size)."""
        return projected_NV + self.bias


class LanguageModelHead(Projection):
    """Logits (N, vocabulary size) of the tokens at the targets' positions."""

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Return the states at the targets' positions, (N, D): logits elsewhere would be thrown away."""
        return hidden_BLD[targets["example"], targets["position"]]

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return the likeliest token's id at each of an example's targets."""
        return rows_by_example(
            outputs.argmax(dim=-1).cpu().numpy(), targets["example"].cpu().numpy(), num_examples
        )
