"""Pairs of halves: where texts are cut, and that nothing but the order tells the label."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sslm_objectives.halves import NextSentence, SentenceOrder

from sslm_platform.api import Encoded, PluginError, Vocabulary

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "。", *"abcdefghij")
VOCABULARY = Vocabulary(len(TOKENS), 0, 4, frozenset(range(5)), TOKENS)


def text(words, partner=None):
    ids = [2, *(TOKENS.index(w) for w in words.split()), 3]
    special = np.array([True, *[False] * (len(ids) - 2), True])
    return Encoded(np.array(ids), special, {}, partner=partner)


def shown(objective, example, label):
    """Return the pair of a label as words, from a generator that draws it."""

    class Coin:
        def random(self):
            return 0.0 if label else 1.0

    batch = objective.collate([example], [Coin()])
    assert batch.targets["labels"].tolist() == [label]
    first = [TOKENS[i] for i, s in zip(batch.input_ids[0], batch.segments[0], strict=True) if s == 0]
    second = [TOKENS[i] for i, s in zip(batch.input_ids[0], batch.segments[0], strict=True) if s == 1]
    return " ".join(first), " ".join(second), batch


@pytest.mark.parametrize(
    ("words", "ordered", "swapped"),
    [
        ("a b . c d e .", ("a b .", "c d e"), ("c d e .", "a b")),
        ("a . b . c d e f .", ("a . b .", "c d e f"), ("c d e f .", "a . b")),  # nearest to the middle
        ("a b ? . c d 。 e f", ("a b ? .", "c d"), ("c d 。", "a b ?")),  # what is cut off is left out
        ("a b c d", ("a b", "c"), ("c d", "a")),  # one sentence: the middle
        ("a b", ("a", ""), ("b", "")),
    ],
)
def test_a_text_is_cut_at_the_sentence_nearest_to_its_middle(words, ordered, swapped):
    for label, (first, second) in ((0, ordered), (1, swapped)):
        found = shown(SentenceOrder(VOCABULARY), text(words), label)
        assert found[:2] == (f"[CLS] {first} [SEP]", f"{second} [SEP]".strip())
        assert found[2].weight_B.tolist() == [1.0]


def test_pairs_are_no_longer_than_their_texts_and_as_long_in_either_order():
    rng = np.random.default_rng(0)
    for _ in range(300):
        words = " ".join(rng.choice(TOKENS[5:], size=rng.integers(2, 15)))
        lengths = [len(shown(SentenceOrder(VOCABULARY), text(words), n)[2].input_ids[0]) for n in (0, 1)]
        assert lengths[0] == lengths[1] <= len(words.split()) + 2


def test_a_text_without_two_tokens_weighs_nothing_and_stays():
    _, _, batch = shown(SentenceOrder(VOCABULARY), text("a"), 1)
    assert batch.weight_B.tolist() == [0.0]
    assert batch.input_ids[0].tolist() == text("a").input_ids_L.tolist()


def test_the_other_text_is_the_partners_and_cut_to_the_own_length():
    partner = text("h . g g g g g g g .")
    example = text("a b . c d .", partner)
    assert shown(NextSentence(VOCABULARY), example, 0)[:2] == ("[CLS] a b . [SEP]", "c d [SEP]")
    assert shown(NextSentence(VOCABULARY), example, 1)[:2] == ("[CLS] a b . [SEP]", "g g [SEP]")


def test_a_partner_without_halves_makes_no_pair():
    _, _, batch = shown(NextSentence(VOCABULARY), text("a b . c d .", text("h")), 1)
    assert batch.weight_B.tolist() == [0.0]


@pytest.mark.parametrize("kind", [SentenceOrder, NextSentence])
def test_labels_are_heads_or_tails_of_the_examples_own_generator(kind):
    examples = [text("a b . c d .", text("e f . g h ."))] * 2_000
    objective = kind(VOCABULARY)
    first, again = (
        objective.collate(examples, [np.random.default_rng(i) for i in range(2_000)]) for _ in range(2)
    )
    assert binomtest(int(first.targets["labels"].sum()), 2_000, 0.5).pvalue > 1e-4
    assert torch.equal(first.targets["labels"], again.targets["labels"])


def test_a_tokenizer_without_separators_is_refused():
    bare = Encoded(np.array([8, 9, 10]), np.zeros(3, bool), {})
    with pytest.raises(PluginError, match="to part two halves"):
        SentenceOrder(VOCABULARY).collate([bare], [np.random.default_rng(0)])
