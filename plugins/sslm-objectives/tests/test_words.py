"""Whole words and spans: where they are, and how often they are hidden."""

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare
from sslm_objectives.mlm import MaskedLanguageModelling
from sslm_objectives.options import MlmOptions
from sslm_objectives.words import WordStarts

from sslm_platform.api import Encoded, PluginError, Vocabulary

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHINESE = tuple("我们在北京的清华大学学习自然语言处理")


def vocabulary(*tokens):
    return Vocabulary(len(SPECIAL + tokens), 0, 4, frozenset(range(5)), SPECIAL + tokens)


def starts(tokens, segmenter=None, extra=()):
    known = vocabulary(*dict.fromkeys((*tokens, *extra)))
    ids_L = np.array([known.tokens.index(token) for token in tokens])
    return WordStarts(known, segmenter)(ids_L, np.arange(len(ids_L))).astype(int).tolist()


def test_wordpiece_marks_what_goes_on():
    assert starts(["un", "##break", "##able", "film", "##s", "!"]) == [1, 0, 0, 1, 0, 1]


@pytest.mark.parametrize("mark", ["▁", "Ġ"])
def test_others_mark_what_begins_and_the_first_token_begins_always(mark):
    assert starts(["un", "able", f"{mark}film", "s", "!"]) == [1, 0, 1, 0, 0]


def test_a_heading_in_markdown_is_no_mark():
    """Byte-level vocabularies learn it; most tokens say which mark it is."""
    assert starts(["Ġun", "able", "Ġ##", "##", "###", "Ġfilm", "Ġs"], extra=("Ġa",)) == [1, 0, 1, 0, 0, 1, 1]
    assert starts(["un", "##able", "##s", "▁"]) == [1, 0, 0, 1]


def test_a_word_ends_where_a_token_is_left_out():
    known = vocabulary("film", "##s")
    assert WordStarts(known)(np.array([5, 6, 1, 6]), np.array([0, 1, 3])).tolist() == [True, False, True]


def test_a_tokenizer_without_marks_has_no_words():
    with pytest.raises(PluginError, match="does not mark where words begin"):
        starts(["f", "i", "l", "m"])


def test_chinese_words_are_those_of_the_segmenter():
    pytest.importorskip("rjieba")
    # 我们 / 在 / 北京 / 的 / 清华大学 / 学习 / 自然语言 / 处理
    expected = [1, 0, 1, 1, 0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0]
    assert starts(CHINESE, "jieba", ["##s"]) == expected
    assert starts(CHINESE, "jieba") == expected  # a vocabulary of characters
    assert starts(CHINESE, None, ["##s"]) == [1] * len(CHINESE)
    mixed = ["film", "##s", *CHINESE[:2], "。", *CHINESE[3:5], "北"]
    assert starts(mixed, "jieba") == [1, 0, 1, 0, 1, 1, 0, 1]


def test_a_token_of_two_words_joins_them():
    pytest.importorskip("rjieba")
    assert starts(["我", "们在", "北", "京"], "jieba", ["##s"]) == [1, 0, 1, 0]


def test_a_segmenter_cannot_read_bytes():
    with pytest.raises(PluginError, match="tokens are bytes"):
        starts(["Ġfilm"], "jieba")


ENGLISH = vocabulary("a", "b", "c", "##d", "##e")


def text(num_tokens, seed=0):
    """Words of one to three tokens or more, at random."""
    ids = np.random.default_rng(seed).integers(5, 10, num_tokens)
    ids[0] = 5
    return Encoded(np.concatenate([[2], ids, [3]]), np.array([True, *[False] * num_tokens, True]), {})


def corrupt(example, known=ENGLISH, seed=0, **options):
    objective = MaskedLanguageModelling(MlmOptions(**options), known)
    batch = objective.collate([example], [np.random.default_rng(seed)])
    return batch.targets["position"].numpy(), batch.input_ids[0]


def words_of(example):
    return np.cumsum(example.input_ids_L < 8) - 1  # d and e go on


def test_words_are_hidden_whole_at_the_rate():
    example = text(40_000)
    position, _ = corrupt(example, unit="word")
    word_L = words_of(example)[1:-1]
    hidden = np.isin(np.arange(1, 40_001), position)
    num_hidden = 0
    for word in np.split(hidden, np.flatnonzero(np.diff(word_L)) + 1):
        assert word.all() or not word.any()
        num_hidden += bool(word.all())
    assert binomtest(num_hidden, int(word_L[-1] - word_L[0] + 1), 0.15).pvalue > 1e-4


def test_each_token_of_a_word_is_shown_by_itself():
    example = text(40_000)
    position, shown = corrupt(example, unit="word")
    assert binomtest(int((shown[position] == 4).sum()), len(position), 0.8).pvalue > 1e-4


def test_spans_reach_the_rate_exactly():
    for num_tokens in (1, 3, 7, 20, 101):
        sizes = [len(corrupt(text(num_tokens, s), seed=s, unit="span")[0]) for s in range(300)]
        expected = num_tokens * 0.15
        assert set(sizes) <= {max(1, int(expected)), max(1, int(expected) + 1)}
        if expected >= 1:
            assert binomtest(sizes.count(int(expected) + 1), 300, expected % 1).pvalue > 1e-4


def test_lengths_of_spans_are_those_of_spanbert():
    objective = MaskedLanguageModelling(MlmOptions(unit="span", mask_prob=0.02), ENGLISH)
    assert (objective.span_shares * np.arange(1, 11)).sum() == pytest.approx(3.797, abs=1e-3)  # paper: 3.8
    counts = np.zeros(11)
    for seed in range(20):
        span_C = objective._spans(np.arange(20_000), np.random.default_rng(seed))  # seldom do spans meet
        lengths = np.bincount(span_C[span_C >= 0])[:-1]  # the last is cut off
        counts += np.bincount(lengths, minlength=11)
    assert counts[0] == 0
    assert chisquare(counts[1:], objective.span_shares * counts.sum()).pvalue > 1e-4


def test_a_span_begins_at_a_word_and_is_shown_alike():
    for seed in range(200):
        example = text(200, seed)
        options = {"unit": "span", "mask_prob": 0.05, "replace_prob": 0.5, "random_prob": 0.0}
        position, shown = corrupt(example, seed=seed, **options)
        for run in np.split(position, np.flatnonzero(np.diff(position) > 1) + 1):
            assert example.input_ids_L[run[0]] < 8  # a, b or c
        masked = shown[position] == 4
        assert np.count_nonzero(np.diff(masked)) <= 8


def test_options_that_do_nothing_are_refused():
    with pytest.raises(ValueError, match="segmenter finds words"):
        MlmOptions(segmenter="jieba")
    with pytest.raises(ValueError, match="need unit: span"):
        MlmOptions(max_span=3)
