"""Rank statistics: scipy's, and by hand where scipy has none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from sslm_platform.report.ranking import kendall, recall, regret, spearman

PREDICTED = np.array([4.0, 3.0, 2.0, 1.0])


def rows(*values):
    return np.array(values, dtype=float)


@pytest.mark.parametrize("levels", [3, 1000])  # with ties and without
def test_correlations_are_scipys(levels):
    rng = np.random.default_rng(levels)
    predicted = rng.integers(levels, size=8).astype(float)
    measured = rng.integers(levels, size=(20, 8)).astype(float)
    assert kendall(predicted, measured) == pytest.approx([kendalltau(predicted, m)[0] for m in measured])
    assert spearman(predicted, measured) == pytest.approx([spearmanr(predicted, m)[0] for m in measured])


@pytest.mark.parametrize("statistic", [kendall, spearman])
def test_without_an_order_there_is_no_correlation(statistic):
    assert np.isnan(statistic(np.ones(3), rows([1, 2, 3]))).all()
    assert np.isnan(statistic(np.arange(3.0), rows([1, 1, 1]))).all()


def test_regret_is_the_share_of_the_range_that_is_lost():
    measured = rows([0.9, 0.5, 0.4, 0.1], [0.1, 0.5, 0.4, 0.9], [0.5, 0.1, 0.9, 0.3])
    assert regret(PREDICTED, measured, 1) == pytest.approx([0.0, 1.0, 0.5])
    assert regret(PREDICTED, measured, 3) == pytest.approx([0.0, 0.5, 0.0])


def test_recall_is_the_share_of_the_best_that_was_found():
    measured = rows([0.9, 0.5, 0.4, 0.1], [0.1, 0.5, 0.4, 0.9], [0.1, 0.2, 0.3, 0.4])
    assert recall(PREDICTED, measured, 2) == pytest.approx([1.0, 0.5, 0.0])


def test_equal_predictions_count_as_the_worse_choice():
    assert regret(np.zeros(3), rows([0.3, 0.1, 0.2]), 1) == pytest.approx([1.0])
    assert recall(np.array([1.0, 1.0, 0.0]), rows([0.3, 0.1, 0.2]), 1) == pytest.approx([0.0])
