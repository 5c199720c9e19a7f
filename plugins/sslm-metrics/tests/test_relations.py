"""Scores of relations against scikit-learn, and the official scorer of SemEval-2010 Task 8."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from sslm_platform.api import MetricContext, OutputKind, Scored, SpecError
from sslm_platform.plugins import host

NAMES = "Cause-Effect Component-Whole Content-Container Entity-Destination Entity-Origin Instrument-Agency"
NAMES = [*NAMES.split(), "Member-Collection", "Message-Topic", "Product-Producer"]
LABELS = [f"{name}({way})" for name in NAMES for way in ("e1,e2", "e2,e1")] + ["Other"]


def build(name, labels, **options):
    definition = host().registry.metrics.get(name).definition
    return definition.build(
        definition.options(**options), MetricContext(OutputKind.SEQUENCE_LOGITS, tuple(labels))
    )


def scored(predictions, references):
    zeros = np.zeros(len(references))
    return Scored(predictions, references, zeros, zeros)


def guess(gold, rng):
    draw = rng.random()
    if draw < 0.5:
        return gold
    if draw < 0.65 and gold != "Other":
        return gold.replace("e1,e2", "X").replace("e2,e1", "e1,e2").replace("X", "e2,e1")
    return rng.choice(LABELS)


def test_official_score():
    """What semeval2010_task8_scorer-v1.2.pl prints for these 200 answers: 53.51 %."""
    rng = random.Random(5)
    gold = [rng.choice(LABELS) for _ in range(200)]
    predicted = [guess(label, rng) for label in gold]
    ids = [[LABELS.index(label) for label in side] for side in (predicted, gold)]
    whole = scored(*ids)
    assert round(100 * build("semeval_relation_f1", LABELS).score(whole), 2) == 53.51
    flat = f1_score(gold, predicted, labels=LABELS[:-1], average="micro")
    assert build("relation_f1", LABELS, negative="Other").score(whole) == pytest.approx(flat)


def test_official_rules_by_hand():
    """Gold: A twice, B, Other. One A is backward, and Other is taken for A: its P is 1/3, its R 1/2."""
    labels = ["A(e1,e2)", "A(e2,e1)", "B(e1,e2)", "C(e1,e2)", "Other"]
    whole = scored([0, 1, 2, 0], [0, 0, 2, 4])
    expected = (2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2) + 1.0) / 2  # C is not in the key
    assert build("semeval_relation_f1", labels).score(whole) == pytest.approx(expected)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_relation_f1_is_scikit_learns_without_the_negative(pairs):
    predictions, references = (list(side) for side in zip(*pairs, strict=True))
    expected = f1_score(references, predictions, labels=[0, 2, 3], average="micro", zero_division=0)
    metric = build("relation_f1", ["a", "none", "b", "c"], negative="none")
    assert metric.score(scored(predictions, references)) == pytest.approx(expected)


def test_relations_that_the_head_does_not_know_are_missed():
    assert build("relation_f1", ["a", "none"], negative="none").score(
        scored([0, 1], [0, -1])
    ) == pytest.approx(2 / 3)


def test_negative_label_must_be_one():
    with pytest.raises(SpecError, match=r"options.negative: no label 'Other'.*known: a, none"):
        build("semeval_relation_f1", ["a", "none"])
