"""EDA's operations on places (Wei & Zou 2019, "EDA: Easy Data Augmentation", EMNLP, section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sslm_platform.api import Word


def number_of_changes(share: float, num_words: int) -> int:
    """Return EDA's n = share · words, rounded, but 1 at least."""
    return max(1, round(share * num_words))


def words_of(words: Sequence[str], groups: Iterable[range]) -> list[Word]:
    """Return the words of these groups, as they are."""
    return [Word(words[place], place) for group in groups for place in group]


class RandomSwap:
    """Two groups of words change places, n = ``share`` · words times."""

    def __init__(self, share: float) -> None:
        self._share = share

    def augment(
        self, words: Sequence[str], groups: Sequence[range], generator: np.random.Generator
    ) -> list[Word]:
        """Return the same words in another order."""
        order = list(groups)
        for _ in range(number_of_changes(self._share, len(words)) if len(order) > 1 else 0):
            first, second = generator.choice(len(order), size=2, replace=False)
            order[first], order[second] = order[second], order[first]
        return words_of(words, order)


class RandomDeletion:
    """Each group of words is left out with probability ``share``, but one stays at least."""

    def __init__(self, share: float) -> None:
        self._share = share

    def augment(
        self, words: Sequence[str], groups: Sequence[range], generator: np.random.Generator
    ) -> list[Word]:
        """Return the words that are left."""
        stays = generator.random(len(groups)) >= self._share
        if not stays.any():
            stays[generator.integers(len(groups))] = True
        return words_of(words, (group for group, kept in zip(groups, stays, strict=True) if kept))
