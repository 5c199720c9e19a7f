"""Metrics of rankings against scikit-learn, and against their definitions counted by hand."""

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score
from sslm_metrics.classification import DEFINITIONS as CLASSIFICATION
from sslm_metrics.ranking import DEFINITIONS

from sslm_platform.api import MetricContext, OutputKind, Scored

METRICS = {
    d.name: d.build(None, MetricContext(OutputKind.RANKING, ()))
    for d in (*DEFINITIONS, *CLASSIFICATION)
    if d.name == "accuracy" or OutputKind.RANKING in d.accepts
}


def scored(predictions, references):
    zeros = np.zeros(len(predictions))
    return Scored([np.array(p) for p in predictions], [np.array(r) for r in references], zeros, zeros)


def random_scored(num=60, candidates=25, right=3, seed=0):
    rng = np.random.default_rng(seed)
    order = [rng.permutation(candidates) for _ in range(num)]
    return scored(
        order, [rng.choice(candidates, size=rng.integers(1, right + 1), replace=False) for _ in order]
    )


def as_matrices(examples, candidates=25):
    gains, scores = (np.zeros((len(examples), candidates)) for _ in range(2))
    for row, (order, right) in enumerate(zip(examples.predictions, examples.references, strict=True)):
        gains[row, right] = 1
        scores[row, order] = -np.arange(candidates)
    return gains, scores


def test_ndcg_is_scikit_learns():
    examples = random_scored()
    assert METRICS["ndcg_at_10"].score(examples) == pytest.approx(ndcg_score(*as_matrices(examples), k=10))


def test_reciprocal_rank_of_one_right_candidate_is_its_average_precision():
    examples = random_scored(right=1)
    expected = label_ranking_average_precision_score(*as_matrices(examples))
    assert METRICS["mrr"].score(examples) == pytest.approx(expected)


def test_values_counted_by_hand():
    examples = scored([[4, 2, 0, 1, 3], [3, 1, 2, 0, 4], [0]], [[0, 1], [3], [7]])
    assert METRICS["mrr"].score(examples) == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert (
        METRICS["recall_at_1"].score(examples) == METRICS["accuracy"].score(examples) == pytest.approx(1 / 3)
    )
    assert METRICS["recall_at_5"].score(examples) == pytest.approx(2 / 3)
    dcg = (1 / np.log2(4) + 1 / np.log2(5)) / (1 + 1 / np.log2(3))
    assert METRICS["ndcg_at_10"].score(examples) == pytest.approx((dcg + 1) / 3)


def test_random_rankings_have_the_recall_of_chance():
    examples = random_scored(num=4000, right=1)
    for k in (1, 5, 10):
        expected = k / 25
        error = (expected * (1 - expected) / 4000) ** 0.5
        assert METRICS[f"recall_at_{k}"].score(examples) == pytest.approx(expected, abs=4 * error)
