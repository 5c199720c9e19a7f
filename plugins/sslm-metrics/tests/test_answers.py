"""Answers by SQuAD's rules: the examples follow the official evaluation script, version 2.0."""

import numpy as np
import pytest
from sslm_metrics.answers import exact_match, normalize, token_f1

from sslm_platform.api import MetricContext, OutputKind, Scored
from sslm_platform.plugins import host


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),
        ("an apple, a pear and the end", "apple pear and end"),
        ("Theatre", "theatre"),
        ("A", ""),
        ("«Das» Haus", "«das» haus"),
        ("U.S. the", "us"),
    ],
)
def test_normal_texts(text, normal):
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("predicted", "gold", "f1"),
    [
        ("the cat sat", "A cat", 2 * (1 / 2) * 1 / (1 / 2 + 1)),
        ("x x y", "x y y", 2 / 3),  # words are counted, not just there
        ("", "", 1.0),
        ("", "x", 0.0),
        ("the", "", 1.0),
        ("y", "x", 0.0),
    ],
)
def test_f1(predicted, gold, f1):
    assert token_f1(predicted, gold) == pytest.approx(f1)
    assert exact_match(predicted, gold) == float(f1 == 1.0)


def score(name, *pairs):
    definition = host().registry.metrics.get(name).definition
    metric = definition.build(None, MetricContext(OutputKind.SPAN_LOGITS, ()))
    zeros = np.zeros(len(pairs))
    return metric.score(Scored([np.array(p) for p, _ in pairs], [r for _, r in pairs], zeros, zeros))


def test_best_answer_counts_and_no_answer_is_one():
    context = "Ada met Grace Hopper"
    answers = [{"text": "Ada", "start": 0}, {"text": "Grace Hopper", "start": 8}]
    several = {"context": context, "answers": answers}
    none = {"context": context, "answers": []}
    pairs = [((8, 13), several), ((0, 3), several), ((-1, -1), none), ((0, 3), none), ((-1, -1), several)]
    assert score("answer_exact_match", *pairs) == pytest.approx(2 / 5)
    assert score("answer_f1", *pairs) == pytest.approx((2 / 3 + 1 + 1) / 5)
