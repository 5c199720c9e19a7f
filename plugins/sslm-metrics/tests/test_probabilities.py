"""Metrics of probabilities, of label sets and of ordered labels against scikit-learn, and on resamples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from sslm_platform.api import MetricContext, OutputKind, Scored, SpecError
from sslm_platform.plugins import host

LABELS = ("a", "b", "c")
SEQUENCE, SETS = OutputKind.SEQUENCE_LOGITS, OutputKind.LABEL_SET_LOGITS
tenths = st.integers(0, 10).map(lambda tenth: tenth / 10)
examples = st.lists(st.tuples(tenths, tenths, tenths, st.sets(st.integers(0, 2))), min_size=2, max_size=15)
pairs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=25)


def build(name, kind, labels=LABELS, **options):
    definition = host().registry.metrics.get(name).definition
    return definition.build(definition.options(**options), MetricContext(kind, labels))


def scored(predictions, references, scores=None):
    zeros = np.zeros(len(references))
    return Scored(predictions, references, zeros, zeros, scores)


def check(metric, whole, oracle, seed):
    """Compare the score and one resample."""
    assert metric.score(whole) == pytest.approx(oracle(whole), abs=1e-9)
    counts_N = np.random.default_rng(seed).multinomial(len(whole), np.full(len(whole), 1 / len(whole)))
    sample = whole.take(np.repeat(np.arange(len(whole)), counts_N))
    assert metric.resample(whole, counts_N[None])[0] == pytest.approx(oracle(sample), abs=1e-9)


def gold_matrix(references):
    return np.array([np.isin(np.arange(3), ids) for ids in references])


def averaged(function):
    def oracle(whole):
        gold, score = gold_matrix(whole.references), np.stack(whole.scores)
        columns = [k for k in range(3) if gold[:, k].any() and not gold[:, k].all()]
        return np.mean([function(gold[:, k], score[:, k]) for k in columns]) if columns else 0.0

    return oracle


@pytest.mark.parametrize(
    ("name", "function"),
    [("auroc", sklearn.roc_auc_score), ("average_precision", sklearn.average_precision_score)],
)
@settings(deadline=None, max_examples=80)
@given(data=examples, seed=st.integers(0, 9_999))
def test_rankings(name, function, data, seed):
    references = [np.array(sorted(row[3]), dtype=np.int64) for row in data]
    whole = scored([None] * len(data), references, [np.array(row[:3]) for row in data])
    check(build(name, SETS), whole, averaged(function), seed)


def test_auroc_of_one_label_an_example_is_scikit_learns_one_versus_rest():
    rng = np.random.default_rng(0)
    gold, score = rng.integers(3, size=60), rng.dirichlet(np.ones(3), size=60)
    value = build("auroc", SEQUENCE).score(scored(gold.tolist(), gold.tolist(), list(score)))
    assert value == pytest.approx(sklearn.roc_auc_score(gold, score, multi_class="ovr"))


def test_calibration_error_by_hand():
    """Two bins of (0, .5] and (.5, 1]: |1 - .5| of one example, |2/3 - .8| of three."""
    scores = [[0.5, 0.3, 0.2], [0.7, 0.2, 0.1], [0.8, 0.1, 0.1], [0.9, 0.1, 0.0]]
    whole = scored([0] * 4, [0, 0, 1, 0], [np.array(s) for s in scores])
    expected = (0.5 + abs(2 - 2.4)) / 4
    assert build("calibration_error", SEQUENCE, bins=2).score(whole) == pytest.approx(expected)


def test_calibrated_probabilities_have_little_error():
    rng = np.random.default_rng(1)
    score = rng.dirichlet(np.ones(3), size=20_000)
    gold = [int(rng.choice(3, p=p)) for p in score]
    assert build("calibration_error", SEQUENCE).score(scored([0] * len(gold), gold, list(score))) < 0.02
    overconfident = score**4 / (score**4).sum(axis=1, keepdims=True)
    assert (
        build("calibration_error", SEQUENCE).score(scored([0] * len(gold), gold, list(overconfident))) > 0.15
    )


SET_ORACLES = {
    "accuracy": lambda gold, predicted, present: sklearn.accuracy_score(gold, predicted),
    "micro_f1": lambda gold, predicted, present: sklearn.f1_score(
        gold, predicted, average="micro", zero_division=0
    ),
    "macro_f1": lambda gold, predicted, present: (
        sklearn.f1_score(gold, predicted, labels=present, average="macro", zero_division=0) if present else 0
    ),
}


@pytest.mark.parametrize("name", SET_ORACLES)
@settings(deadline=None, max_examples=60)
@given(
    data=st.lists(st.tuples(st.sets(st.integers(0, 2)), st.sets(st.integers(0, 2))), min_size=1, max_size=12),
    seed=st.integers(0, 9_999),
)
def test_label_sets(name, data, seed):
    sides = [[np.array(sorted(ids), dtype=np.int64) for ids in column] for column in zip(*data, strict=True)]

    def oracle(whole):
        gold, predicted = gold_matrix(whole.references), gold_matrix(whole.predictions)
        present = [k for k in range(3) if gold[:, k].any() or predicted[:, k].any()]
        return float(SET_ORACLES[name](gold, predicted, present))

    check(build(name, SETS), scored(*sides), oracle, seed)


def test_labels_that_the_head_does_not_know_are_missed():
    whole = scored([np.array([0])], [np.array([-1, 0])])
    assert build("micro_recall", SETS).score(whole) == 0.5
    assert build("accuracy", SETS).score(whole) == 0.0


@settings(deadline=None, max_examples=80)
@given(data=pairs, seed=st.integers(0, 9_999))
def test_quadratic_kappa(data, seed):
    """Ids are not ranks: here id 0 is the middle one."""
    rank = np.array([1, 2, 0])

    def oracle(whole):
        gold, predicted = rank[whole.references], rank[whole.predictions]
        if len(set(gold)) == 1 and len(set(predicted)) == 1:
            return 0.0 if gold[0] == predicted[0] else 1 - 1 / 1
        return sklearn.cohen_kappa_score(gold, predicted, weights="quadratic", labels=[0, 1, 2])

    predictions, references = ([int(x) for x in column] for column in zip(*data, strict=True))
    check(
        build("quadratic_kappa", SEQUENCE, order=("c", "a", "b")),
        scored(predictions, references),
        oracle,
        seed,
    )


def test_kappa_needs_an_order():
    with pytest.raises(SpecError, match="no numbers: give their order"):
        build("quadratic_kappa", SEQUENCE)
