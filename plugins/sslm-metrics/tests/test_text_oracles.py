"""Metrics of texts against sacrebleu and rouge_score on whole corpora, and on resamples."""

import re

import numpy as np
import pytest
import sacrebleu
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from sslm_platform.api import DataError, MetricContext, OutputKind, Scored
from sslm_platform.plugins import host

# Post (2018): no casing, punctuation to split, a Chinese sentence, emoji; and nothing at all
GERMAN = ["Zwei Männer stehen am Herd.", "Ein Hund läuft, ein Kind (5) lacht!", "Das ist gut so.", "Nein"]
GUESSED = ["Zwei Männer stehen am Ofen.", "ein Hund rennt, ein Kind lacht!", "", "Das ist gut so. Nein"]
CHINESE = (["删除所有的文件", "保存更改 🙂 并退出"], ["删除文件所有", "保存并退出"])
words = st.sampled_from(["the", "The", "cat", "sat,", "on", "mat.", "running", "runs", "naïve", "Ä"])
texts = st.lists(words, max_size=9).map(" ".join)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=8)


def build(name, **options):
    definition = host().registry.metrics.get(name).definition
    return definition.build(definition.options(**options), MetricContext(OutputKind.GENERATED_TEXT, ()))


def scored(predictions, references):
    return Scored(predictions, references, np.zeros(len(references)), np.ones(len(references)))


def check(metric, predictions, references, oracle):
    """Compare score and one resample that repeats examples and lacks others."""
    whole = scored(predictions, references)
    assert metric.score(whole) == pytest.approx(oracle(predictions, references), abs=1e-12)
    counts_N = np.arange(len(whole)) % 3
    counts_N[0] += 1
    rows = np.repeat(np.arange(len(whole)), counts_N)
    repeated = oracle([predictions[i] for i in rows], [references[i] for i in rows])
    assert metric.resample(whole, counts_N[None])[0] == pytest.approx(repeated, abs=1e-12)


@settings(deadline=None, max_examples=40)
@example(data=list(zip(GUESSED, GERMAN, strict=True)), lowercase=True)
@given(data=pairs, lowercase=st.booleans())
def test_bleu_and_chrf_are_sacrebleus(data, lowercase):
    predictions, references = (list(column) for column in zip(*data, strict=True))
    bleu, chrf = build("bleu", lowercase=lowercase), build("chrf")
    check(
        bleu,
        predictions,
        references,
        lambda p, r: sacrebleu.corpus_bleu(p, [r], lowercase=lowercase).score / 100,
    )
    check(chrf, predictions, references, lambda p, r: sacrebleu.corpus_chrf(p, [r]).score / 100)


def test_bleu_of_chinese_counts_characters():
    metric = build("bleu", tokenize="zh")
    check(metric, *CHINESE, lambda p, r: sacrebleu.corpus_bleu(p, [r], tokenize="zh").score / 100)
    assert metric.score(scored(*CHINESE)) > 0.1
    assert build("bleu").score(scored(*CHINESE)) < 0.1


def test_chrf_plus_plus_counts_words():
    expected = sacrebleu.corpus_chrf(GUESSED, [GERMAN], word_order=2).score / 100
    assert build("chrf", word_order=2).score(scored(GUESSED, GERMAN)) == pytest.approx(expected)
    assert expected != pytest.approx(build("chrf").score(scored(GUESSED, GERMAN)))


def test_signatures_say_what_was_counted():
    bleu, chrf = build("bleu", tokenize="zh").signature, build("chrf", word_order=2).signature
    assert bleu.startswith("nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:")
    assert chrf.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:")
    assert "unit:characters" in build("rouge1", unit="characters").signature


def has_words(text):
    return re.search("[a-z0-9]", text.lower()) is not None


@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougeL"])
@settings(deadline=None, max_examples=40)
@given(data=pairs.filter(lambda data: any(has_words(r) for _, r in data)), stem=st.booleans())
def test_rouge_is_rouge_scores(name, data, stem):
    scorer = RougeScorer([name], use_stemmer=stem)

    def oracle(predictions, references):
        both = zip(references, predictions, strict=True)
        return np.mean([scorer.score(r, p)[name].fmeasure for r, p in both])

    predictions, references = (list(column) for column in zip(*data, strict=True))
    check(build(name, stem=stem), predictions, references, oracle)


def test_rouge_of_characters_is_rouge_of_spaced_letters():
    predictions, references = ["abcab b", "xy"], ["abd b", "zz"]
    spaced = [" ".join(text.replace(" ", "")) for text in predictions + references]
    for name in ("rouge1", "rouge2", "rougeL"):
        expected = build(name, stem=False).score(scored(spaced[:2], spaced[2:]))
        assert build(name, unit="characters").score(scored(predictions, references)) == expected
        assert build(name, unit="characters").score(scored(*CHINESE)) > 0.3


def test_rouge_of_words_refuses_texts_without_any():
    with pytest.raises(DataError, match=r"rouge1: no reference .* set options.unit to char"):
        build("rouge1").score(scored(*CHINESE))


def test_distinct_counts_each_ngram_of_the_drawn_texts_once():
    """Li et al. (2016): types divided by tokens, here by hand."""
    metric = build("distinct", order=2)
    whole = scored(["a b a b", "b a", "", "c"], ["x"] * 4)
    assert metric.score(whole) == pytest.approx(2 / 4)
    counts_RN = np.array([[0, 3, 1, 1], [0, 0, 1, 1], [1, 0, 0, 0]])
    assert metric.resample(whole, counts_RN) == pytest.approx([1 / 3, 0.0, 2 / 3])
    assert build("distinct", order=1, characters=True).score(scored(["删 删"], ["x"])) == 0.5


def test_same_text_and_length():
    whole = scored(["a  b", "A b", ""], ["a b", "a b", "abcd"])
    assert build("same_text").score(whole) == pytest.approx(1 / 3)
    assert build("length_ratio").score(whole) == pytest.approx(7 / 10)
