"""A pre-norm transformer decoder layer that can go on from the keys and values of earlier calls.

W is the decoder's width, H its attention heads, E = W / H, S source positions, T target positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, linear, scaled_dot_product_attention

KeysValues = tuple[Tensor, Tensor]


@dataclass(slots=True)
class LayerCache:
    """Keys and values, (rows, H, positions, E) each: of the tokens so far, and of the encoder's states."""

    own: KeysValues | None = None
    states: KeysValues | None = None

    def reorder(self, rows_R: Tensor) -> None:
        """Put other rows in each row's place; of the same example, so that the states' stay."""
        if self.own is not None:
            self.own = (self.own[0][rows_R], self.own[1][rows_R])


class TokenTable(nn.Module):
    """One matrix (V, W) that embeds tokens and, transposed, gives their logits (Press and Wolf 2017).

    Both are calls of this module, so that an engine that shards it gathers the matrix for both.
    """

    def __init__(self, num_tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_tokens, width))
        nn.init.normal_(self.weight, std=width**-0.5)

    def forward(self, tokens_or_states: Tensor) -> Tensor:
        """Return embeddings of ids, times sqrt(W); logits of states."""
        if tokens_or_states.dtype == torch.int64:
            return embedding(tokens_or_states, self.weight) * self.weight.shape[1] ** 0.5
        return linear(tokens_or_states, self.weight)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, 3.2) from states of one width to states of another."""

    def __init__(self, width: int, of_width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, rate
        self.query = _linear(width, width)
        self.key_value = _linear(of_width, 2 * width)
        self.output = _linear(width, width)

    def keys_values(self, states_BSD: Tensor) -> KeysValues:
        """Return keys and values, (B, H, S, E) each."""
        keys_BSW, values_BSW = self.key_value(states_BSD).chunk(2, dim=-1)
        return self._by_head(keys_BSW), self._by_head(values_BSW)

    def forward(self, states_BTW: Tensor, kv: KeysValues, mask: Tensor | None) -> Tensor:
        """Attend where ``mask``, broadcast to (B, H, T, S), is true; everywhere where it is None."""
        mixed_BHTE = scaled_dot_product_attention(
            self._by_head(self.query(states_BTW)),
            *kv,
            attn_mask=mask,
            dropout_p=self.rate if self.training else 0.0,
        )
        return self.output(mixed_BHTE.transpose(1, 2).flatten(2))

    def _by_head(self, states_BTW: Tensor) -> Tensor:
        return states_BTW.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward, each on normed states (Xiong et al. 2020)."""

    def __init__(self, width: int, states: int, heads: int, feed_forward: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = Attention(width, width, heads, rate)
        self.cross = Attention(width, states, heads, rate)
        self.feed_forward = nn.Sequential(
            _linear(width, feed_forward), nn.GELU(), _linear(feed_forward, width)
        )

    def forward(self, x_BTW: Tensor, memory_BSD: Tensor, mask_BS: Tensor, cache: LayerCache | None) -> Tensor:
        """Add the three sublayers; with a cache, of tokens that follow those of earlier calls."""
        normed_BTW = self.norms[0](x_BTW)
        own = self.own.keys_values(normed_BTW)
        if cache is not None:
            if cache.own is not None:
                own = (torch.cat((cache.own[0], own[0]), dim=2), torch.cat((cache.own[1], own[1]), dim=2))
            cache.own = own
        num, total = x_BTW.shape[1], own[0].shape[2]
        causal_TT = torch.ones(num, total, dtype=torch.bool, device=x_BTW.device).tril(total - num)
        x_BTW = x_BTW + self._dropped(self.own(normed_BTW, own, causal_TT))
        kv = cache.states if cache is not None else None
        if kv is None:
            kv = self.cross.keys_values(memory_BSD)
        if cache is not None:
            cache.states = kv
        mask_B11S = mask_BS.bool()[:, None, None]
        x_BTW = x_BTW + self._dropped(self.cross(self.norms[1](x_BTW), kv, mask_B11S))
        return x_BTW + self._dropped(self.feed_forward(self.norms[2](x_BTW)))

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.rate, self.training)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
