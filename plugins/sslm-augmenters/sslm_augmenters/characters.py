"""Typing errors in any script."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sslm_platform.api import Word


class CharacterNoise:
    """Each word has, with probability ``share``, an error as in Belinkov & Bisk (2018, section 3).

    Two neighbours change places, a character is left out, doubled, or another of the word's own takes its
    place; words of one character stay.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def augment(
        self, words: Sequence[str], groups: Sequence[range], generator: np.random.Generator
    ) -> list[Word]:
        """Return as many words in the same order."""
        hit = generator.random(len(words)) < self._share
        return [
            Word(_mistyped(word, generator) if hit[place] and len(word) > 1 else word, place)
            for place, word in enumerate(words)
        ]


def _mistyped(word: str, generator: np.random.Generator) -> str:
    place = int(generator.integers(len(word) - 1))
    before, first, second, after = word[:place], word[place], word[place + 1], word[place + 2 :]
    match int(generator.integers(4)):
        case 0:
            return before + second + first + after
        case 1:
            return before + second + after
        case 2:
            return before + first + first + second + after
        case _:
            other = word[int(generator.integers(len(word)))]
            return before + other + second + after
