"""A linear-chain conditional random field: the tags of a text are likely or not together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sslm_objectives.rows import UNKNOWN, sum_by_example, word_targets
from sslm_platform.api import Encoded, Targets, TaskBatch

IMPOSSIBLE = -1e9  # exp of it is 0, and no sum of scores reaches it


class ConditionalRandomField:
    """-log p(tags | text) in nats; an example weighs its number of words (Lafferty et al. 2001).

    log p is the score of the tags minus the log of the sum of exp(score) over all sequences of tags, by the
    forward algorithm. Of a tag that the training split does not have nothing is asked: the probability is
    that of the other tags, whatever stands there.
    """

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Make a row of each word's first token."""
        targets = word_targets(examples)
        known_N = (targets["labels"] != UNKNOWN).float()
        return TaskBatch(targets, sum_by_example(known_N, targets, len(examples)))

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from scores (N, num_labels, num_labels) of each tag after each one before it."""
        labels_N, example_N = targets["labels"], targets["example"]
        if not len(labels_N):
            return outputs.float().sum() + outputs.new_zeros(num_examples, dtype=torch.float32)
        size_B = torch.bincount(example_N, minlength=num_examples)
        start_B = size_B.cumsum(0) - size_B
        place_N = torch.arange(len(labels_N), device=labels_N.device) - start_B[example_N]
        every_NKK = outputs.float()
        tag_K = torch.arange(outputs.shape[-1], device=labels_N.device)
        is_gold_NK = (labels_N[:, None] == tag_K) | (labels_N[:, None] == UNKNOWN)
        gold_NKK = every_NKK.masked_fill(~is_gold_NK[:, None], IMPOSSIBLE)
        padded = every_NKK.new_zeros(2, num_examples, int(size_B.max()), *outputs.shape[1:])
        padded[:, example_N, place_N] = torch.stack([every_NKK, gold_NKK])
        is_word_BW = torch.arange(padded.shape[2], device=size_B.device) < size_B[:, None]
        all_B, gold_B = _log_partition(padded, is_word_BW)
        return all_B - gold_B


def _log_partition(score_SBWKK: Tensor, is_word_BW: Tensor) -> Tensor:
    """Return the log of the sum of exp(score) over all sequences of tags, (S, B)."""
    alpha_SBK = score_SBWKK[:, :, 0, 0]  # before the first word all tags are alike
    for word in range(1, score_SBWKK.shape[2]):
        after_SBK = torch.logsumexp(alpha_SBK[..., None] + score_SBWKK[:, :, word], dim=2)
        alpha_SBK = torch.where(is_word_BW[:, word, None], after_SBK, alpha_SBK)
    return torch.logsumexp(alpha_SBK, dim=-1)
