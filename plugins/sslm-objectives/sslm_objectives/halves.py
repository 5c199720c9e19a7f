"""Pairs made of a text's two halves: in order or swapped (SOP), or the second one of another text (NSP)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sslm_platform.api import Encoded, PluginError, Targets, TaskBatch, Vocabulary

CLOSING = frozenset(".!?…。\uff01\uff1f")  # the last two are full-width


class _Halves(ABC):
    """-log p(label) in nats of ``[CLS] first [SEP] second [SEP]``; each pair weighs 1.

    A text is cut at the end of the sentence that is nearest to its middle, and what follows its last whole
    sentence is left out; one of fewer than two sentences is cut in the middle. The second half's last token
    makes room for the separator, whatever the label, so that no pair is longer than its text and none can be
    told by how it ends. A text of fewer than two tokens stays as it is and weighs nothing.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        closing = [i for i, token in enumerate(vocabulary.tokens) if token.strip("▁Ġ#") in CLOSING]
        self.closing_ids = np.array(closing, dtype=np.int64)

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Make each example's pair; heads or tails is its own generator's."""
        ids, segments, labels, weights = [], [], [], []
        for example, generator in zip(examples, generators, strict=True):
            label = int(generator.random() < 0.5)
            halves = self.halves(example)
            pair = None if halves is None else self.pair(example, halves, label)
            ids_L, segment_L = _unchanged(example) if pair is None else _joined(example, *pair)
            ids.append(ids_L)
            segments.append(segment_L)
            labels.append(label)
            weights.append(0.0 if pair is None else 1.0)
        return TaskBatch({"labels": torch.tensor(labels)}, torch.tensor(weights), ids, segments)

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (B, 2)."""
        return cross_entropy(outputs.float(), targets["labels"], reduction="none")

    def halves(self, example: Encoded) -> tuple[np.ndarray, np.ndarray] | None:
        """Return a text's two halves, or None where it has no two tokens."""
        text_T = example.input_ids_L[~example.special_L.astype(bool)]
        is_end_T = np.isin(text_T, self.closing_ids)
        is_end_T[:-1] &= ~is_end_T[1:]  # of "?!" the second
        ends = 1 + np.flatnonzero(is_end_T)
        if len(ends) > 1:
            middle = ends[:-1][np.abs(ends[:-1] - ends[-1] / 2).argmin()]
            return text_T[:middle], text_T[middle : ends[-1]]
        middle = len(text_T) // 2
        return (text_T[:middle], text_T[middle:]) if middle else None

    @abstractmethod
    def pair(
        self, example: Encoded, halves: tuple[np.ndarray, np.ndarray], label: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return what comes first and second under a label."""


class SentenceOrder(_Halves):
    """Whether the halves of a text were swapped (ALBERT; Lan et al. 2020, section 3.1)."""

    def pair(
        self, example: Encoded, halves: tuple[np.ndarray, np.ndarray], label: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Swap the halves for the label 1."""
        return (halves[1], halves[0]) if label else halves


class NextSentence(_Halves):
    """Whether the second half is of another text (Devlin et al. 2019, section 3.1, task 2).

    The other text is any of the same split, whatever the batch or the rank; its half is cut to the length of
    the text's own.
    """

    def pair(
        self, example: Encoded, halves: tuple[np.ndarray, np.ndarray], label: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Take the partner's second half for the label 1; None where it has none."""
        assert example.partner is not None, "the definition asks for partners"
        others = self.halves(example.partner)
        if others is None:
            return None
        return (halves[0], others[1][: len(halves[1])]) if label else halves


def _joined(example: Encoded, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids and segments of a pair."""
    places = np.flatnonzero(~example.special_L.astype(bool))
    before, after = example.input_ids_L[: places[0]], example.input_ids_L[places[-1] + 1 :]
    if not len(after):
        raise PluginError("the encoder's tokenizer puts no special token after a text, to part two halves")
    parts = [before, first, after[:1], second[:-1], after]
    numbers = [0, 0, 0, 1, 1]
    return np.concatenate(parts), np.repeat(numbers, [len(part) for part in parts])


def _unchanged(example: Encoded) -> tuple[np.ndarray, np.ndarray]:
    return example.input_ids_L.copy(), np.zeros(len(example.input_ids_L), dtype=np.int64)
