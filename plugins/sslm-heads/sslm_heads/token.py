"""A tag for each word, from its first token (Devlin et al. 2019, section 5.3), its last, or all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sslm_heads.layers import linear
from sslm_heads.options import TokenOptions
from sslm_platform.api import HeadContext, Targets

CUT_OFF = -1


class TokenClassifier(nn.Module):
    """Logits (N, num_labels) of the words that truncation left.

    Predictions cover all words: one that was cut off is ``O`` where the labels have it, else -1, which equals
    no label. So a cut-off entity counts as missed, instead of vanishing from the score.
    """

    def __init__(self, options: TokenOptions, context: HeadContext) -> None:
        super().__init__()
        self.alignment = options.alignment
        self.dropout = nn.Dropout(options.dropout)
        self.output = linear(context.hidden_size, len(context.labels))
        self.unseen = context.labels.index("O") if "O" in context.labels else CUT_OFF

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Return the states of the words, (N, D): of their first or last token, or the mean of all."""
        row_N, start_N = targets["row"], targets["position"]
        match self.alignment:
            case "first":
                return hidden_BLD[row_N, start_N]
            case "last":
                return hidden_BLD[row_N, targets["end"] - 1]
            case _:
                return _means(hidden_BLD, row_N, start_N, targets["end"] - start_N)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, D) to logits (N, num_labels)."""
        return self.output(self.dropout(features))

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return the tag ids of all of each example's words."""
        return self._of_all_words(outputs.argmax(dim=-1), targets)

    def _of_all_words(self, tag_N: Tensor, targets: Targets) -> list[np.ndarray]:
        tags = [np.full(num, self.unseen, dtype=np.int64) for num in targets["num_words"].tolist()]
        rows = (targets["example"].tolist(), targets["word"].tolist(), tag_N.tolist())
        for example, word, tag in zip(*rows, strict=True):
            tags[example][word] = tag
        return tags


def _means(hidden_BLD: Tensor, row_N: Tensor, start_N: Tensor, size_N: Tensor) -> Tensor:
    """Return the mean states of words, (N, D), each of ``size_N`` tokens."""
    word_T = torch.repeat_interleave(torch.arange(len(size_N), device=size_N.device), size_N)
    place_T = torch.arange(len(word_T), device=size_N.device) - (size_N.cumsum(0) - size_N)[word_T]
    states_TD = hidden_BLD[row_N[word_T], start_N[word_T] + place_T]
    sum_ND = hidden_BLD.new_zeros(len(size_N), hidden_BLD.shape[-1]).index_add(0, word_T, states_TD)
    return sum_ND / size_N.unsqueeze(1)
