"""A head that writes: a transformer decoder over the encoder's states (Vaswani et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from sslm_generation.layers import DecoderLayer, LayerCache, TokenTable
from sslm_generation.options import DecoderOptions
from sslm_generation.search import decode, written
from sslm_platform.api import HeadContext, Problem, SpecError, Targets


class DecoderInput(NamedTuple):
    """What the decoder reads.

    Attributes:
        memory_BLD: the encoder's states.
        mask_BL: where they are states of tokens.
        ids_BT: the tokens before those whose logits are wanted, the start first.
        example_N: rows of the wanted logits.
        position_N: their positions in ``ids_BT``.
        caches: of each layer, if earlier calls had the tokens before ``ids_BT``.
        offset: how many tokens that were.
    """

    memory_BLD: Tensor
    mask_BL: Tensor
    ids_BT: Tensor
    example_N: Tensor
    position_N: Tensor
    caches: list[LayerCache] | None = None
    offset: int = 0


class Decoder(nn.Module):
    """Logits (N, V) of target tokens, and texts.

    Embeddings are tied to the output; positions are sinusoids, so that no length is too long.

    Raises:
        SpecError: on construction, if the width is no multiple of the number of attention heads.
    """

    def __init__(self, options: DecoderOptions, context: HeadContext) -> None:
        super().__init__()
        assert context.tokenizer is not None
        self.tokenizer, self.options = context.tokenizer, options
        self.width = options.width or context.hidden_size
        if self.width % options.heads:
            raise SpecError(Problem("head.options.heads", f"{options.heads} does not divide {self.width}"))
        inner = options.feed_forward or 4 * self.width
        self.tokens = TokenTable(self.tokenizer.size, self.width)
        self.layers = nn.ModuleList(
            DecoderLayer(self.width, context.hidden_size, options.heads, inner, options.dropout)
            for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(self.width)

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> DecoderInput:
        """Put the targets one place to the right, after the start."""
        example_N, position_N = targets["example"], targets["position"]
        length = int(position_N.max()) + 1 if len(position_N) else 1
        ids_BT = torch.full(
            (len(hidden_BLD), length + 1), self.tokenizer.pad_id, device=hidden_BLD.device, dtype=torch.int64
        )
        ids_BT[:, 0] = self.tokenizer.start_id
        ids_BT[example_N, position_N + 1] = targets["labels"]
        return DecoderInput(hidden_BLD, mask_BL, ids_BT[:, :-1], example_N, position_N)

    def forward(self, features: DecoderInput) -> Tensor:
        """Return the logits of the wanted tokens, (N, V)."""
        memory_BLD, mask_BL, ids_BT, example_N, position_N, caches, offset = features
        x_BTW = self.tokens(ids_BT) + sinusoids(offset, ids_BT.shape[1], self.width, memory_BLD.device)
        x_BTW = dropout(x_BTW, self.options.dropout, self.training)
        for index, layer in enumerate(self.layers):
            x_BTW = layer(x_BTW, memory_BLD, mask_BL, caches[index] if caches else None)
        return self.tokens(self.norm(x_BTW[example_N, position_N]))

    def generate(
        self,
        hidden_BLD: Tensor,
        mask_BL: Tensor,
        generators: Sequence[np.random.Generator],
        goes_on: Callable[[bool], bool],
    ) -> list[str] | list[list[str]]:
        """Return a text for each example (see :class:`~sslm_generation.options.DecodingOptions`)."""
        beams = self.options.decoding.beams
        rows = _Rows(self, hidden_BLD.repeat_interleave(beams, 0), mask_BL.repeat_interleave(beams, 0))
        found = decode(rows, self.tokenizer, self.options.decoding, generators, goes_on)
        return written(self.tokenizer, found, self.options.decoding.n_best)


class _Rows:
    """Hypotheses that grow by one token at a time; the caches hold what came before."""

    def __init__(self, decoder: Decoder, memory_RLD: Tensor, mask_RL: Tensor) -> None:
        self.device = memory_RLD.device
        self._decoder, self._memory_RLD, self._mask_RL = decoder, memory_RLD, mask_RL
        self._caches = [LayerCache() for _ in decoder.layers]
        self._row_R = torch.arange(len(memory_RLD), device=self.device)
        self._length = 0

    def following(self, ids_R: Tensor) -> Tensor:
        """Append a token to each row; return the logits of the next, (R, V)."""
        wanted = (self._row_R, torch.zeros_like(self._row_R))
        read = (self._memory_RLD, self._mask_RL, ids_R.unsqueeze(1), *wanted, self._caches, self._length)
        self._length += 1
        return self._decoder(DecoderInput(*read))

    def reorder(self, rows_R: Tensor) -> None:
        """Put another row of the same example in each row's place."""
        for cache in self._caches:
            cache.reorder(rows_R)


def sinusoids(offset: int, length: int, width: int, device: torch.device) -> Tensor:
    """Return (T, W), positions ``offset`` and after as sines, then cosines, of falling frequency (3.5)."""
    half = (width + 1) // 2
    rates = torch.exp(-np.log(10000.0) * torch.arange(half, device=device) / half)
    angles_TF = torch.arange(offset, offset + length, device=device).unsqueeze(1) * rates
    return torch.cat([angles_TF.sin(), angles_TF.cos()], dim=1)[:, :width]
