"""The encoder itself writes, after the text that it has read (UniLM; Dong et al. 2019, section 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sslm_generation.options import UnilmOptions
from sslm_generation.search import decode, written
from sslm_platform.api import Continued, HeadContext, Targets


class EncoderWriter(nn.Module):
    """Logits (N, V) of target tokens, and texts: dense, GELU, layer norm, the encoder's embeddings, bias.

    BERT's language-model head (Devlin et al. 2019), read at the token before each target.
    """

    def __init__(self, options: UnilmOptions, context: HeadContext) -> None:
        super().__init__()
        assert context.tokenizer is not None
        self.tokenizer, self.options = context.tokenizer, options
        self.dense = nn.Linear(context.hidden_size, context.hidden_size)
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)
        self.norm = nn.LayerNorm(context.hidden_size, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(context.vocabulary_size))

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Return the states of the tokens before the targets, (N, D)."""
        example_N = targets["example"]
        return hidden_BLD[example_N, targets["prefix"][example_N] - 1 + targets["position"]]

    def transform(self, features: Tensor) -> Tensor:
        """Map (N, D) to the (N, D) that is multiplied with the embedding matrix."""
        return self.norm(nn.functional.gelu(self.dense(features)))

    def forward(self, projected_NV: Tensor) -> Tensor:
        """Add the bias to the products with the embedding matrix, (N, V)."""
        return projected_NV + self.bias

    def write(
        self,
        continued: Continued,
        generators: Sequence[np.random.Generator],
        goes_on: Callable[[bool], bool],
    ) -> list[str] | list[list[str]]:
        """Return a text for each example (see :class:`~sslm_generation.options.DecodingOptions`)."""
        decoding = self.options.decoding
        options = decoding.model_copy(update={"max_length": min(decoding.max_length, continued.room)})
        continued.repeat(options.beams)
        found = decode(continued, self.tokenizer, options, generators, goes_on)
        return written(self.tokenizer, found, options.n_best)
