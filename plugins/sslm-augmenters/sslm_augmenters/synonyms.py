"""EDA's operations with synonyms (Wei & Zou 2019, section 2); the synonyms are the user's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sslm_augmenters.words import number_of_changes, words_of
from sslm_platform.api import Problem, SpecError, Word, content_digest

Synonyms = Mapping[str, Sequence[str]]


def read_synonyms(path: str) -> Synonyms:
    """Read a JSON object of words and their synonyms.

    Raises:
        SpecError: the file is not there, or is something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(Problem("augment.options.path", f"{path}: {error}")) from None
    return checked(content, "path", f"{path}: ")


def digest_of(path: str) -> str:
    """Return what is in a file of synonyms, as a digest.

    Raises:
        SpecError: it is not there.
    """
    try:
        return content_digest(Path(path))
    except OSError as error:
        raise SpecError(Problem("augment.options.path", f"{path}: {error.strerror}")) from None


def checked(content: Any, option: str, where: str = "") -> Synonyms:
    """Return words and their synonyms, if they are that.

    Raises:
        SpecError: they are something else.
    """
    if not isinstance(content, dict) or not content:
        raise SpecError(Problem(f"augment.options.{option}", f"{where}must be an object of words"))
    for word, others in content.items():
        if not (isinstance(others, list) and others and all(_is_word(other) for other in others)):
            what = f"{where}{word!r} must have a list of words, without spaces; it has {others!r}"
            raise SpecError(Problem(f"augment.options.{option}", what))
    return content


def _is_word(value: object) -> bool:
    return isinstance(value, str) and len(value.split()) == 1


class SynonymReplacement:
    """n = ``share`` · words of the words that have synonyms are replaced by one of them."""

    def __init__(self, share: float, synonyms: Synonyms) -> None:
        self._share = share
        self._synonyms = synonyms

    def augment(
        self, words: Sequence[str], groups: Sequence[range], generator: np.random.Generator
    ) -> list[Word]:
        """Return the words with some replaced."""
        result = words_of(words, groups)
        known = [place for place, word in enumerate(words) if word.lower() in self._synonyms]
        number = min(number_of_changes(self._share, len(words)), len(known))
        for place in generator.permutation(known)[:number].tolist():
            result[place] = Word(_draw(self._synonyms, words[place], generator), place)
        return result


class RandomInsertion:
    """n = ``share`` · words times, a synonym of one of the words is put somewhere; with its word's tag."""

    def __init__(self, share: float, synonyms: Synonyms) -> None:
        self._share = share
        self._synonyms = synonyms

    def augment(
        self, words: Sequence[str], groups: Sequence[range], generator: np.random.Generator
    ) -> list[Word]:
        """Return the words and, between groups, the new ones; no word of a chunk is repeated."""
        pieces = [words_of(words, [group]) for group in groups]
        known = [
            group[0] for group in groups if len(group) == 1 and words[group[0]].lower() in self._synonyms
        ]
        for _ in range(number_of_changes(self._share, len(words)) if known else 0):
            place = int(generator.choice(known))
            new = Word(_draw(self._synonyms, words[place], generator), place)
            pieces.insert(int(generator.integers(len(pieces) + 1)), [new])
        return [word for piece in pieces for word in piece]


def _draw(synonyms: Synonyms, word: str, generator: np.random.Generator) -> str:
    others = synonyms[word.lower()]
    return others[int(generator.integers(len(others)))]
