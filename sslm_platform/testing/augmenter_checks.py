"""Checks of augmenters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sslm_platform.augmenting import Augmenter, Word
from sslm_platform.data.augment import complaint_about, groups_of
from sslm_platform.testing.cases import Case
from sslm_platform.types import AugmenterDef

TEXTS = (
    ("word",),
    ("I", "a"),
    ("the", "film", "was", "great", "and", "the", "plot", "felt", "clever"),
    ("很好吃", "👍🏽", "café", "שלום", "x"),
    ("It", "rained", "all", "day.", "We", "stayed", "in!", "Why", "not?"),
    ("Ada", "King", "Lovelace", "met", "Charles", "Babbage", "in", "London", "."),
)
TAGS = ("B-PER", "I-PER", "I-PER", "O", "B-PER", "I-PER", "O", "B-LOC", "O")
NUM_DRAWS = 50


def _texts(definition: AugmenterDef) -> Iterator[tuple[tuple[str, ...], list[range]]]:
    for words in TEXTS:
        tags = [TAGS] if words[0] == "Ada" and not definition.rewrites else []
        yield words, groups_of(len(words), tags)


def _draw(augmenter: Augmenter, words: Sequence[str], groups: Sequence[range], draw: int) -> list[Word]:
    return list(augmenter.augment(words, groups, np.random.default_rng(draw)))


def check_words_and_chunks_stay_whole(case: Case[AugmenterDef]) -> None:
    """One word at least is left, each is one, and a tagged chunk is there in one piece or not at all."""
    augmenter = case.definition.build(case.parsed_options())
    for words, groups in _texts(case.definition):
        for draw in range(NUM_DRAWS):
            complaint = complaint_about(_draw(augmenter, words, groups, draw), groups)
            assert not complaint, f"{' '.join(words)}: {complaint}"


def check_augmenter_is_pure(case: Case[AugmenterDef]) -> None:
    """The generator alone decides: ranks, workers and resumed runs see the same texts."""
    augmenter = case.definition.build(case.parsed_options())
    first = [_draw(augmenter, *text, draw) for text in _texts(case.definition) for draw in range(5)]
    np.random.seed(0)  # a global generator must not matter
    other = case.definition.build(case.parsed_options())
    again = [
        _draw(other, *text, draw) for text in list(_texts(case.definition))[::-1] for draw in range(5)[::-1]
    ][::-1]
    assert first == again, "texts depend on earlier calls, or on randomness that is not the generator's"


def check_texts_change(case: Case[AugmenterDef]) -> None:
    """Some draws change some text, and not all draws in one way."""
    augmenter = case.definition.build(case.parsed_options())
    seen = {
        tuple(_draw(augmenter, *text, draw)) for text in _texts(case.definition) for draw in range(NUM_DRAWS)
    }
    same = {tuple(Word(word, i) for i, word in enumerate(words)) for words, _ in _texts(case.definition)}
    assert len(seen - same) > 1, "no text was changed, or all draws are one"


def check_input_stays(case: Case[AugmenterDef]) -> None:
    """The words that it got are as they were."""
    augmenter = case.definition.build(case.parsed_options())
    for words, groups in _texts(case.definition):
        given = list(words)
        _draw(augmenter, given, groups, 0)
        assert given == list(words), "the words were changed in place"


AUGMENTER_CHECKS = (
    check_words_and_chunks_stay_whole,
    check_augmenter_is_pure,
    check_texts_change,
    check_input_stays,
)
