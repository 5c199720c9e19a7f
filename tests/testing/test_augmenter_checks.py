"""Every check of augmenters fails on one that breaks its rule."""

import numpy as np
import pytest

from sslm_platform.augmenting import Word
from sslm_platform.testing import augmenter_checks as checks
from sslm_platform.testing.cases import Case
from sslm_platform.types import AugmenterDef


def same(words):
    return [Word(word, place) for place, word in enumerate(words)]


class Good:
    def augment(self, words, groups, generator):
        order = generator.permutation(len(groups))
        return [Word(words[place], place) for group in order for place in groups[group]]


class Empties:
    def augment(self, words, groups, generator):
        return same(words)[1:]


class Splits:
    def augment(self, words, groups, generator):
        return [Word(f"{word} {word}", place) for place, word in enumerate(words)]


class CutsChunks:
    def augment(self, words, groups, generator):
        return [same(words)[i] for i in generator.permutation(len(words))]


class Invents:
    def augment(self, words, groups, generator):
        return [*same(words), Word("new", len(words))]


class CountsCalls:
    calls = 0

    def augment(self, words, groups, generator):
        self.calls += 1
        return [Word(f"{word}{self.calls}", place) for place, word in enumerate(words)]


class GlobalChance:
    def augment(self, words, groups, generator):
        return [Word(f"{word}{np.random.randint(99)}", place) for place, word in enumerate(words)]


class Idle:
    def augment(self, words, groups, generator):
        return same(words)


class InPlace:
    def augment(self, words, groups, generator):
        words[0] = "other"
        return same(words)


BROKEN = {
    Empties: (checks.check_words_and_chunks_stay_whole, "no word is left"),
    Splits: (checks.check_words_and_chunks_stay_whole, "is not one word"),
    CutsChunks: (checks.check_words_and_chunks_stay_whole, "is not in one piece"),
    Invents: (checks.check_words_and_chunks_stay_whole, "is no place in a text"),
    CountsCalls: (checks.check_augmenter_is_pure, "depend on earlier calls"),
    GlobalChance: (checks.check_augmenter_is_pure, "not the generator's"),
    Idle: (checks.check_texts_change, "no text was changed"),
    InPlace: (checks.check_input_stays, "changed in place"),
}


def test_each_check_has_a_twin():
    assert {check for check, _ in BROKEN.values()} == set(checks.AUGMENTER_CHECKS)


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_ones_fail(broken):
    check, message = BROKEN[broken]
    with pytest.raises(AssertionError, match=message):
        check(Case(AugmenterDef("broken", lambda options: broken())))


@pytest.mark.parametrize("check", checks.AUGMENTER_CHECKS)
def test_a_good_one_passes(check):
    check(Case(AugmenterDef("good", lambda options: Good())))
