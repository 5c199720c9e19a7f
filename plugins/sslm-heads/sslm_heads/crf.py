"""Tags that are chosen together: emissions and transitions, decoded by Viterbi's algorithm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sslm_heads.options import CrfOptions
from sslm_heads.token import TokenClassifier
from sslm_platform.api import HeadContext, Targets, rows_by_example

BEGIN = "begin"


class CrfTagger(TokenClassifier):
    """Scores (N, num_labels, num_labels) of each tag after each tag of the word before.

    The sum of a word's emission (linear in its state), the transition between the two tags, and at a text's
    first and last word what it begins and ends with (Lample et al. 2016, "Neural Architectures for Named
    Entity Recognition", section 2.2).
    """

    def __init__(self, options: CrfOptions, context: HeadContext) -> None:
        super().__init__(options, context)
        num_tags = len(context.labels)
        self.transition = nn.Parameter(torch.zeros(num_tags, num_tags))
        self.begin = nn.Parameter(torch.zeros(num_tags))
        self.end = nn.Parameter(torch.zeros(num_tags))
        follows = [[_follows(tag, last) for tag in context.labels] for last in (BEGIN, *context.labels)]
        self.allowed = np.array(follows) if options.constrained else np.ones((num_tags + 1, num_tags), bool)

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Return the states of the words, and whether each is its text's first and last, (N, D + 2)."""
        states_ND, example_N = super().features(hidden_BLD, mask_BL, targets), targets["example"]
        changes_N = (example_N[1:] != example_N[:-1]).to(states_ND.dtype)
        edge = states_ND.new_ones(min(len(example_N), 1))
        first_N, last_N = torch.cat([edge, changes_N]), torch.cat([changes_N, edge])
        return torch.cat([states_ND, first_N[:, None], last_N[:, None]], dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, D + 2) to scores (N, num_labels, num_labels): the last dimension is the word's own tag."""
        states_ND, first_N, last_N = features[:, :-2], features[:, -2], features[:, -1]
        emission_NK = self.output(self.dropout(states_ND)) + last_N[:, None] * self.end
        is_first_N11 = first_N[:, None, None].bool()
        before_NKK = torch.where(is_first_N11, self.begin, self.transition)
        return before_NKK + emission_NK[:, None]

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return the tag ids of all of each example's words: the sequence whose score is highest."""
        score_NKK = outputs.detach().double().cpu().numpy()
        texts = rows_by_example(score_NKK, targets["example"].cpu().numpy(), num_examples)
        found = [best_tags(score_WKK, self.allowed) for score_WKK in texts]
        return self._of_all_words(torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *found])), targets)


def best_tags(score_WKK: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return the tags, (W,), with the largest sum of scores (Viterbi 1967).

    Args:
        score_WKK: of each tag (last axis) after each tag of the word before.
        allowed: (K + 1, K), which tags may begin a text, and follow each tag.
    """
    if not len(score_WKK):
        return np.zeros(0, dtype=np.int64)
    best_K = np.where(allowed[0], score_WKK[0, 0], -np.inf)
    came_from = []
    for score_KK in score_WKK[1:]:
        sum_KK = np.where(allowed[1:], best_K[:, None] + score_KK, -np.inf)
        came_from.append(sum_KK.argmax(axis=0))
        best_K = sum_KK.max(axis=0)
    tags = [int(best_K.argmax())]
    for before_K in reversed(came_from):
        tags.append(int(before_K[tags[-1]]))
    return np.array(tags[::-1], dtype=np.int64)


def _follows(tag: str, last: str) -> bool:
    """Whether a tag may come after another in BIO: an I- goes on with a chunk of its type."""
    return not tag.startswith("I-") or last in (f"B-{tag[2:]}", tag)
