"""Thresholds of label sets, and the proportional-odds model."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import f1_score
from sslm_heads.options import MultilabelOptions, OrdinalOptions
from sslm_heads.sequence import MultilabelClassifier, OrdinalClassifier
from sslm_heads.threshold import best_threshold

from sslm_platform.api import HeadContext, Scored, SpecError

CONTEXT = HeadContext(4, 10, ("a", "b", "c"))
shares = st.integers(0, 10).map(lambda tenth: tenth / 10)  # tenths make ties
rows = st.lists(st.tuples(shares, shares, shares, st.sets(st.integers(0, 2))), min_size=1, max_size=8)


@settings(deadline=None, max_examples=150)
@given(rows)
def test_no_threshold_has_a_better_micro_f1(data):
    """Brute force over all cuts, with scikit-learn's F1."""
    probability = np.array([row[:3] for row in data])
    references = [np.array(sorted(row[3]), dtype=np.int64) for row in data]
    gold = np.array([np.isin(np.arange(3), ids) for ids in references])

    def f1(threshold):
        return f1_score(gold, probability >= threshold, average="micro", zero_division=0)

    best = max(f1(cut) for cut in np.arange(0.05, 1.0, 0.1))
    assert f1(best_threshold(probability, references)) >= best - 1e-12


def scored(probabilities, references):
    zeros = np.zeros(len(references))
    return Scored([], references, zeros, zeros, [np.array(p) for p in probabilities])


def test_tuned_threshold_is_used():
    head = MultilabelClassifier(MultilabelOptions(), CONTEXT)
    outputs = torch.logit(torch.tensor([[0.3, 0.1, 0.6]], dtype=torch.float64))
    assert [ids.tolist() for ids in head.predict(outputs, {}, 1)] == [[2]]
    head.tune(scored([[0.3, 0.1, 0.6], [0.1, 0.4, 0.1]], [np.array([0, 2]), np.array([1])]))
    assert float(head.threshold) == pytest.approx(0.2)
    assert [ids.tolist() for ids in head.predict(outputs, {}, 1)] == [[0, 2]]


def test_fixed_threshold_stays():
    head = MultilabelClassifier(MultilabelOptions(threshold=0.5), CONTEXT)
    head.tune(scored([[0.3, 0.1, 0.6]], [np.array([0, 2])]))
    assert float(head.threshold) == 0.5


def test_ordinal_probabilities_are_differences_of_cumulative_ones():
    """Columns follow the labels' ids, not their order; far values stay finite."""
    head = OrdinalClassifier(OrdinalOptions(dropout=0, order=("c", "a", "b")), CONTEXT).eval()
    torch.nn.init.constant_(head.gaps, 0.3)
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    value = head.layers(features).squeeze(1).detach().double().numpy()
    cuts = head.first.item() + np.array([0.0, np.log1p(np.exp(0.3))])
    cumulative = np.column_stack([np.zeros(6), expit(cuts[None] - value[:, None]), np.ones(6)])
    expected = np.diff(cumulative, axis=1)[:, [1, 2, 0]]
    assert head(features).exp().detach().numpy() == pytest.approx(expected, abs=1e-6)
    torch.nn.init.constant_(head.layers[-1].bias, 500.0)
    assert torch.isfinite(head(features)).all()


def test_ordinal_labels_that_are_numbers_need_no_order():
    head = OrdinalClassifier(OrdinalOptions(), HeadContext(4, 10, ("1", "10", "2")))
    assert head.rank.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("order", "message"),
    [(None, "are no numbers: give their order"), (("a", "b"), "but the labels are a, b, c")],
)
def test_orders_that_do_not_fit(order, message):
    with pytest.raises(SpecError, match=message):
        OrdinalClassifier(OrdinalOptions(order=order), CONTEXT)
