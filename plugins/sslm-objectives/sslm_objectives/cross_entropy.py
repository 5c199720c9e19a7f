"""Cross entropy of one label for each example, or of one tag for each word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sslm_objectives.options import CrossEntropyOptions
from sslm_objectives.rows import UNKNOWN, concatenate, example_index, row_cross_entropy
from sslm_platform.api import Encoded, Targets, TaskBatch


class SequenceCrossEntropy:
    """-log p(label) in nats; every example weighs 1."""

    def __init__(self, options: CrossEntropyOptions) -> None:
        self.label_smoothing = options.label_smoothing

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Read each example's ``label``."""
        labels_B = torch.tensor([int(example.values["label"]) for example in examples], dtype=torch.int64)
        return TaskBatch({"labels": labels_B}, torch.ones(len(examples)))

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (B, num_labels)."""
        return cross_entropy(
            outputs.float(), targets["labels"], reduction="none", label_smoothing=self.label_smoothing
        )


class TokenCrossEntropy:
    """Sum of -log p(tag) over the words that truncation left; an example weighs their number.

    A tag that the training split does not have has no probability: its word is predicted, and weighs nothing.
    """

    def __init__(self, options: CrossEntropyOptions) -> None:
        self.label_smoothing = options.label_smoothing

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Make a row of each word's first token."""
        starts = [_word_starts(example) for example in examples]
        words = [np.flatnonzero(start_W >= 0) for start_W in starts]
        sizes = [len(word) for word in words]
        tags = [np.asarray(e.values["tags"])[word] for e, word in zip(examples, words, strict=True)]
        known = [np.count_nonzero(tag_W != UNKNOWN) for tag_W in tags]
        targets = {
            "labels": concatenate(tags),
            "example": example_index(sizes),
            "position": concatenate([start_W[word] for start_W, word in zip(starts, words, strict=True)]),
            "word": concatenate(words),
            "num_words": torch.tensor([len(start_W) for start_W in starts], dtype=torch.int64),
        }
        return TaskBatch(targets, torch.tensor(known, dtype=torch.float32))

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (N, num_labels)."""
        return row_cross_entropy(outputs, targets, num_examples, self.label_smoothing)


def _word_starts(example: Encoded) -> np.ndarray:
    assert example.word_start_W is not None, "an objective that needs tokens gets word starts"
    return example.word_start_W
