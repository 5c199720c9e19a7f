"""Sentences of a text, in another order or fewer of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sslm_augmenters.words import words_of
from sslm_platform.api import Word

ENDS = tuple(".!?…。！？؟।")  # noqa: RUF001
CLOSING = "\"'”’»)]」』"  # noqa: RUF001


def sentences_of(words: Sequence[str], groups: Sequence[range]) -> list[list[range]]:
    """Cut the groups after each whose last word ends a sentence; a chunk that goes on is not cut."""
    sentences: list[list[range]] = [[]]
    for group in groups:
        sentences[-1].append(group)
        if words[group[-1]].rstrip(CLOSING).endswith(ENDS):
            sentences.append([])
    return [sentence for sentence in sentences if sentence]


class SentenceShuffle:
    """All sentences change places at random: of n sentences each order is as likely."""

    def augment(
        self, words: Sequence[str], groups: Sequence[range], generator: np.random.Generator
    ) -> list[Word]:
        """Return the same sentences in another order."""
        sentences = sentences_of(words, groups)
        order = generator.permutation(len(sentences)).tolist()
        return words_of(words, (group for place in order for group in sentences[place]))


class SentenceDeletion:
    """Each sentence is left out with probability ``share``, but one stays at least."""

    def __init__(self, share: float) -> None:
        self._share = share

    def augment(
        self, words: Sequence[str], groups: Sequence[range], generator: np.random.Generator
    ) -> list[Word]:
        """Return the words of the sentences that are left."""
        sentences = sentences_of(words, groups)
        stays = generator.random(len(sentences)) >= self._share
        if not stays.any():
            stays[generator.integers(len(sentences))] = True
        kept = (sentence for sentence, is_kept in zip(sentences, stays, strict=True) if is_kept)
        return words_of(words, (group for sentence in kept for group in sentence))
