"""A generator that puts tokens in, and a detector of them (ELECTRA; Clark et al. 2020).

W is the generator's width, M the number of hidden tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, gelu
from torch.nn.functional import linear as product

from sslm_heads.layers import linear
from sslm_heads.options import ElectraOptions, TokenOptions
from sslm_heads.token import TokenClassifier
from sslm_platform.api import HeadContext, Problem, SpecError, Targets


class ReplacedTokenDetector(TokenClassifier):
    """Logits (N, 2): dense, GELU, linear of each token's state; before that its generator draws tokens.

    The generator's embeddings are its own: the encoder's matrix cannot be borrowed from outside its engine
    (the paper's untied variant, section 3.2).
    """

    def __init__(self, options: ElectraOptions, context: HeadContext) -> None:
        super().__init__(TokenOptions(dropout=options.dropout), context)
        self.dense = linear(context.hidden_size, context.hidden_size)
        width = options.width or max(1, context.hidden_size // (4 * options.heads)) * options.heads
        if width % options.heads:
            raise SpecError(Problem("head.options.heads", f"{options.heads} does not divide {width}"))
        self.generator = Generator(context.vocabulary_size, width, options)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, D) to logits (N, 2)."""
        return super().forward(gelu(self.dense(features)))

    def rewrite(self, input_ids_BL: Tensor, mask_BL: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        """Put in what the generator draws; ``labels`` say where that is another token.

        A token is drawn by the inverse of its distribution's sum at ``draw``, the example's own number:
        whatever the batch or the rank, it is the same one. ``generator_losses``, (M,), are in nats.
        """
        example_M, position_M = targets["hidden_example"], targets["hidden_position"]
        logits_MV = self.generator(input_ids_BL, mask_BL, example_M, position_M).float()
        losses_M = cross_entropy(logits_MV, targets["hidden_ids"], reduction="none")
        with torch.no_grad():
            below_MV = _running_sum(logits_MV.double().softmax(dim=1))
            wanted_M1 = targets["draw"].to(below_MV)[:, None] * below_MV[:, -1:]
            drawn_M = torch.searchsorted(below_MV, wanted_M1, right=True).squeeze(1)
            drawn_M = drawn_M.clamp(max=below_MV.shape[1] - 1)
            ids_BL, replaced_BL = input_ids_BL.clone(), torch.zeros_like(input_ids_BL)
            ids_BL[example_M, position_M] = drawn_M
            replaced_BL[example_M, position_M] = (drawn_M != targets["hidden_ids"]).long()
        labels_N = replaced_BL[targets["example"], targets["position"]]
        return ids_BL, {**targets, "labels": labels_N, "generator_losses": losses_M}


class Generator(nn.Module):
    """A small masked language model: pre-norm transformer layers, sinusoids, tied embeddings."""

    def __init__(self, num_tokens: int, width: int, options: ElectraOptions) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_tokens, width))
        nn.init.normal_(self.weight, std=width**-0.5)
        self.bias = nn.Parameter(torch.zeros(num_tokens))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, options.heads, 4 * width, options.dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, input_ids_BL: Tensor, mask_BL: Tensor, example_M: Tensor, position_M: Tensor) -> Tensor:
        """Return the logits of the tokens at some places, (M, V)."""
        width = self.weight.shape[1]
        x_BLW = embedding(input_ids_BL, self.weight) * math.sqrt(width)
        x_BLW = x_BLW + _sinusoids(input_ids_BL.shape[1], width, input_ids_BL.device)
        for layer in self.layers:
            x_BLW = layer(x_BLW, src_key_padding_mask=~mask_BL.bool())
        return product(self.norm(x_BLW[example_M, position_M]), self.weight, self.bias)


def _running_sum(share_MV: Tensor) -> Tensor:
    """Sum up along rows; on a GPU torch has nothing for that which it calls deterministic."""
    strict = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        return share_MV.cumsum(dim=1)
    finally:
        torch.use_deterministic_algorithms(strict)


def _sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Return positions as sines and cosines of falling frequency, (L, W) (Vaswani et al. 2017, 3.5)."""
    half = (width + 1) // 2
    rates = torch.exp(-math.log(10000.0) * torch.arange(half, device=device) / half)
    angles_LF = torch.arange(length, device=device).unsqueeze(1) * rates
    return torch.cat([angles_LF.sin(), angles_LF.cos()], dim=1)[:, :width]
