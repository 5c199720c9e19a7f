"""Every metric against scikit-learn, scipy or seqeval on random data, and on resamples of it."""

import math
import warnings

import numpy as np
import pytest
import seqeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from seqeval.scheme import IOB2
from sklearn import metrics as sklearn

from sslm_platform.api import MetricContext, OutputKind, Scored, SpecError
from sslm_platform.plugins import host

CLASSES = ("a", "b", "c", "d")
TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def build(name, kind, labels=(), **options):
    definition = host().registry.metrics.get(name).definition
    return definition.build(definition.options(**options), MetricContext(kind, labels))


def scored(predictions, references):
    return Scored(predictions, references, np.zeros(len(references)), np.ones(len(references)))


def averaged(function, average):
    return lambda gold, predicted: function(gold, predicted, average=average, zero_division=0)


CLASS_ORACLES = {
    "accuracy": sklearn.accuracy_score,
    "macro_f1": averaged(sklearn.f1_score, "macro"),
    "micro_f1": averaged(sklearn.f1_score, "micro"),
    "macro_precision": averaged(sklearn.precision_score, "macro"),
    "micro_precision": averaged(sklearn.precision_score, "micro"),
    "macro_recall": averaged(sklearn.recall_score, "macro"),
    "micro_recall": averaged(sklearn.recall_score, "micro"),
    "matthews": sklearn.matthews_corrcoef,
}
SEQEVAL_ORACLES = {
    "entity_f1": averaged(seqeval.metrics.f1_score, "micro"),
    "entity_precision": averaged(seqeval.metrics.precision_score, "micro"),
    "entity_recall": averaged(seqeval.metrics.recall_score, "micro"),
    "entity_macro_f1": averaged(seqeval.metrics.f1_score, "macro"),
}


def quiet(oracle, gold, predicted):
    with warnings.catch_warnings():  # an oracle warns of what 0/0 is; ours says so in its documentation
        warnings.simplefilter("ignore")
        return float(oracle(gold, predicted))


pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)
ids = st.integers(0, len(TAGS) - 1)
sentences = st.lists(st.lists(st.tuples(ids, ids), max_size=8), min_size=1, max_size=6)
floats = st.floats(-100, 100).map(lambda value: round(value, 2))  # rounding makes ties
values = st.lists(st.tuples(floats, floats), min_size=2, max_size=20)
seeds = st.integers(0, 10_000)


def check(metric, predictions, references, oracle, seed):
    """Compare score and one resample, which may lack classes that the whole has."""
    whole = scored(predictions, references)
    assert metric.score(whole) == pytest.approx(oracle(references, predictions), abs=1e-9)
    counts_N = np.random.default_rng(seed).multinomial(len(whole), np.full(len(whole), 1 / len(whole)))
    rows = np.repeat(np.arange(len(whole)), counts_N)
    repeated = oracle([references[i] for i in rows], [predictions[i] for i in rows])
    assert metric.resample(whole, counts_N[None])[0] == pytest.approx(repeated, abs=1e-9)


@pytest.mark.parametrize("name", CLASS_ORACLES)
@settings(deadline=None, max_examples=60)
@given(data=pairs, seed=seeds)
def test_labels(name, data, seed):
    metric = build(name, OutputKind.SEQUENCE_LOGITS, CLASSES)
    predictions, references = (list(column) for column in zip(*data, strict=True))
    check(metric, predictions, references, lambda g, p: quiet(CLASS_ORACLES[name], g, p), seed)


@pytest.mark.parametrize("name", CLASS_ORACLES)
@settings(deadline=None, max_examples=30)
@given(data=sentences.filter(lambda s: any(s)))
def test_tags_are_scored_word_by_word(name, data):
    metric = build(name, OutputKind.TOKEN_LOGITS, TAGS)
    predictions, references = split(data)
    expected = quiet(CLASS_ORACLES[name], np.concatenate(references), np.concatenate(predictions))
    assert metric.score(scored(predictions, references)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", SEQEVAL_ORACLES)
@settings(deadline=None, max_examples=60)
@given(data=sentences, seed=seeds)
def test_entities(name, data, seed):
    metric = build(name, OutputKind.TOKEN_LOGITS, TAGS)

    def oracle(gold, predicted):
        named = [[[TAGS[i] for i in sentence] for sentence in part] for part in (gold, predicted)]
        if not any(tag != "O" for part in named for sentence in part for tag in sentence):
            return 0.0  # seqeval's macro average of no type is not a number
        return quiet(SEQEVAL_ORACLES[name], *named)

    check(metric, *split(data), oracle, seed)


@pytest.mark.parametrize("name", SEQEVAL_ORACLES)
@settings(deadline=None, max_examples=60)
@given(data=sentences.filter(lambda s: any(s)), seed=seeds)
def test_strict_entities(name, data, seed):
    """seqeval's strict mode, which has an error for sentences without a tag."""
    metric = build(name, OutputKind.TOKEN_LOGITS, TAGS, mode="strict")
    strict = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    average = "macro" if "macro" in name else "micro"
    function = getattr(seqeval.metrics, f"{name.replace('entity_', '').replace('macro_', '')}_score")

    def oracle(gold, predicted):
        named = [[[TAGS[i] for i in s] for s in part] for part in (gold, predicted)]
        if not any(tag.startswith("B") for part in named for s in part for tag in s):
            return 0.0
        return quiet(lambda g, p: function(g, p, average=average, **strict), *named)

    check(metric, *split(data), oracle, seed)


@settings(deadline=None, max_examples=60)
@given(data=sentences.filter(lambda s: any(s)), seed=seeds)
def test_token_types(data, seed):
    metric = build("token_macro_f1", OutputKind.TOKEN_LOGITS, TAGS)
    pooled = build("token_micro_f1", OutputKind.TOKEN_LOGITS, TAGS)

    def oracle(gold, predicted, average="macro"):
        gold, predicted = (
            [TAGS[i][2:] for i in np.concatenate(part).astype(int)] for part in (gold, predicted)
        )
        types = sorted({*gold, *predicted} - {""})
        if not types:
            return 0.0
        return quiet(lambda g, p: sklearn.f1_score(g, p, labels=types, average=average), gold, predicted)

    check(metric, *split(data), oracle, seed)
    check(pooled, *split(data), lambda g, p: oracle(g, p, "micro"), seed)


@pytest.mark.parametrize(("name", "function"), [("pearson", stats.pearsonr), ("spearman", stats.spearmanr)])
@settings(deadline=None, max_examples=100)
@given(data=values, seed=seeds, shift=st.sampled_from([0.0, 1e6]))
def test_correlations(name, function, data, seed, shift):
    def oracle(gold, predicted):
        if len(set(gold)) < 2 or len(set(predicted)) < 2:
            return 0.0
        return quiet(lambda g, p: function(p, g).statistic, gold, predicted)

    predictions, references = ([x + shift for x in column] for column in zip(*data, strict=True))
    metric, tolerance = build(name, OutputKind.SEQUENCE_VALUES), 1e-6
    whole = scored(predictions, references)
    assert metric.score(whole) == pytest.approx(oracle(references, predictions), abs=tolerance)
    counts_RN = np.random.default_rng(seed).multinomial(len(whole), np.full(len(whole), 1 / len(whole)), 3)
    for counts_N, value in zip(counts_RN, metric.resample(whole, counts_RN), strict=True):
        rows = np.repeat(np.arange(len(whole)), counts_N)
        expected = oracle([references[i] for i in rows], [predictions[i] for i in rows])
        assert value == pytest.approx(expected, abs=tolerance)


@settings(deadline=None, max_examples=60)
@given(data=values, seed=seeds)
def test_squared_error(data, seed):
    predictions, references = (list(column) for column in zip(*data, strict=True))
    metric = build("mse", OutputKind.SEQUENCE_VALUES)
    whole = scored(predictions, references)
    assert metric.score(whole) == pytest.approx(sklearn.mean_squared_error(references, predictions))


def test_perplexity_and_bits_are_of_tokens_not_examples():
    whole = Scored([], [], np.array([math.log(4) * 3, math.log(2)]), np.array([3.0, 1.0]))
    assert build("bits_per_token", OutputKind.VOCABULARY_LOGITS).score(whole) == pytest.approx(7 / 4)
    assert build("perplexity", OutputKind.VOCABULARY_LOGITS).score(whole) == pytest.approx(2 ** (7 / 4))


def test_perplexity_of_a_diverged_model_stays_finite():
    diverged = Scored([], [], np.array([1e6]), np.array([1.0]))
    assert math.isfinite(build("perplexity", OutputKind.VOCABULARY_LOGITS).score(diverged))


def test_cut_off_words_count_as_missed():
    """A gold entity behind the cut is a miss for recall, and no false positive for precision."""
    references = [np.array([1, 2, 3])]
    predictions = [np.array([1, 2, -1])]
    whole = scored(predictions, references)
    assert build("entity_recall", OutputKind.TOKEN_LOGITS, TAGS).score(whole) == 0.5
    assert build("entity_precision", OutputKind.TOKEN_LOGITS, TAGS).score(whole) == 1.0
    assert build("accuracy", OutputKind.TOKEN_LOGITS, TAGS).score(whole) == pytest.approx(2 / 3)


def test_gold_tags_that_train_does_not_have_are_always_missed():
    """Gold: an entity that the head knows, then one of two words whose type it does not."""
    names = ["O", *TAGS[1:]]
    gold, predicted = [1, 0, -1, -1, 0], [1, 0, 0, 0, 0]
    whole = scored([np.array(predicted)], [np.array(gold)])
    words = [[names[i] if i >= 0 else "I-new" for i in ids] for ids in (gold, predicted)]
    for name, oracle in SEQEVAL_ORACLES.items():
        assert build(name, OutputKind.TOKEN_LOGITS, TAGS).score(whole) == pytest.approx(
            oracle([words[0]], [words[1]])
        )
    assert build("accuracy", OutputKind.TOKEN_LOGITS, TAGS).score(whole) == pytest.approx(3 / 5)
    assert build("micro_recall", OutputKind.TOKEN_LOGITS, TAGS).score(whole) == pytest.approx(3 / 5)
    assert build("token_macro_f1", OutputKind.TOKEN_LOGITS, TAGS).score(whole) == pytest.approx(1 / 2)
    nowhere = scored([np.array([1, -1])], [np.array([1, -1])])
    assert build("accuracy", OutputKind.TOKEN_LOGITS, TAGS).score(nowhere) == 0.5


def test_entity_metrics_refuse_plain_tags():
    with pytest.raises(SpecError, match="not 'NOUN'; for plain tags use macro_f1"):
        build("entity_f1", OutputKind.TOKEN_LOGITS, ("NOUN", "VERB"))


def split(data):
    predictions = [np.array([p for p, _ in sentence], dtype=np.int64) for sentence in data]
    references = [np.array([r for _, r in sentence], dtype=np.int64) for sentence in data]
    return predictions, references
