from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from scipy import stats

from sslm_platform.statistics import Sample, infer, resample_counts

NUM_RESAMPLES = 4000


@cache
def drawn(num_examples: int) -> np.ndarray:
    return resample_counts(num_examples, NUM_RESAMPLES, 0)


def measured(differences_SN: np.ndarray, counts_RN: np.ndarray | None = None) -> Sample:
    num_seeds, num_examples = differences_SN.shape
    if counts_RN is None:
        counts_RN = drawn(num_examples)
    resamples_SR = differences_SN @ counts_RN.T / num_examples
    return Sample(tuple(range(num_seeds)), differences_SN.mean(axis=1), resamples_SR, num_examples, num_seeds)


def test_one_seed_is_the_paired_t_test_over_examples():
    differences_SN = np.random.default_rng(0).normal(0.1, 1, size=(1, 80))
    found, oracle = infer(measured(differences_SN)), stats.ttest_1samp(differences_SN[0], 0)
    assert found.conditional
    assert found.p == pytest.approx(oracle.pvalue, rel=0.1)
    assert found.p == found.p_examples
    assert found.effect_examples == pytest.approx(
        differences_SN.mean() / differences_SN.std(ddof=1), rel=0.05
    )
    assert found.p_seeds is found.effect_seeds is None
    interval = oracle.confidence_interval()
    assert (found.estimate().low, found.estimate().high) == pytest.approx(
        (interval.low, interval.high), abs=0.02
    )


def test_p_and_interval_agree():
    for seed in range(30):
        sample = measured(np.random.default_rng(seed).normal(0.2, 1, size=(5 if seed % 2 else 2, 60)))
        found = infer(sample)
        estimate = found.estimate()
        assert (found.p < 0.05) == (estimate.low > 0 or estimate.high < 0)


def test_fewer_than_five_seeds_are_conditional_on_the_models():
    """Seeds that differ wildly do not widen the interval: it is not about them."""
    rng = np.random.default_rng(1)
    examples_N = rng.normal(size=100)
    found = {}
    for spread in (0.0, 5.0):
        seeds_S = spread * np.array([-1.0, -0.5, 0.5, 1.0])
        found[spread] = infer(measured(examples_N + seeds_S[:, None]))
    assert found[0.0].conditional
    assert found[0.0].p == pytest.approx(found[5.0].p)
    assert found[0.0].standard_error == pytest.approx(examples_N.std(ddof=1) / 10, rel=0.05)


def test_examples_without_noise_leave_the_paired_t_test_over_seeds():
    values_S = np.array([0.1, 0.4, -0.1, 0.2, 0.3])
    found = infer(measured(np.repeat(values_S[:, None], 50, axis=1)))
    oracle = stats.ttest_1samp(values_S, 0)
    assert found.p == pytest.approx(oracle.pvalue)
    assert found.p_seeds == pytest.approx(oracle.pvalue)
    assert found.effect_seeds == pytest.approx(values_S.mean() / values_S.std(ddof=1))
    assert found.effect_examples is None


def test_the_variance_is_that_of_the_two_way_analysis():
    """Seeds and examples crossed: mean squares of the layout, from the raw table, as an oracle."""
    rng = np.random.default_rng(2)
    num_seeds, num_examples = 6, 120
    table_SN = (
        0.05 * rng.normal(size=(num_seeds, 1))
        + 0.4 * rng.normal(size=num_examples)
        + 1.0 * rng.normal(size=(num_seeds, num_examples))
    )
    rest_SN = table_SN - table_SN.mean(axis=1, keepdims=True) - table_SN.mean(axis=0) + table_SN.mean()
    of_seeds = num_examples * table_SN.mean(axis=1).var(ddof=1)
    of_examples = num_seeds * table_SN.mean(axis=0).var(ddof=1)
    of_rest = (rest_SN**2).sum() / (num_seeds - 1) / (num_examples - 1)
    expected = (of_seeds + of_examples - of_rest) / num_seeds / num_examples
    found = infer(measured(table_SN, resample_counts(num_examples, 20_000, 0)))
    assert found.standard_error**2 == pytest.approx(expected, rel=0.05)
    twice = (of_seeds + of_examples) / num_seeds / num_examples
    assert found.standard_error**2 < 0.9 * twice


def test_the_interaction_of_seeds_and_examples_counts_once():
    """Nothing but independent noise: the variance of the mean is sigma^2 / (S N), not twice that."""
    rng, counts_RN = np.random.default_rng(3), resample_counts(60, 300, 0)
    squares = [infer(measured(rng.normal(size=(5, 60)), counts_RN)).standard_error ** 2 for _ in range(400)]
    assert np.mean(squares) == pytest.approx(1 / 300, rel=0.15)


def test_few_examples_never_give_a_smaller_p_than_flipping_their_signs():
    found = infer(measured(np.ones((1, 6)) + 0.01 * np.arange(6)))
    assert found.p == pytest.approx(2**-5)
    same = infer(measured(np.ones((1, 6))))
    assert same.p == 2**-5
    assert infer(measured(np.ones((5, 6)))).p == 2**-5


def test_equal_models_are_no_evidence():
    found = infer(measured(np.zeros((5, 50))))
    assert (found.p, found.p_examples, found.p_seeds, found.standard_error) == (1, 1, None, 0)
    assert (found.estimate().low, found.estimate().high) == (0, 0)


def test_undefined_resamples_are_left_out_and_none_is_no_inference():
    sample = measured(np.random.default_rng(4).normal(size=(2, 40)))
    holes_SR = sample.resamples_SR.copy()
    holes_SR[1, ::2] = math.nan
    found = infer(Sample(sample.seeds, sample.values_S, holes_SR, 40, 2))
    assert found.standard_error == pytest.approx(infer(sample).standard_error, rel=0.1)
    assert infer(Sample(sample.seeds, sample.values_S, np.full((2, 5), math.nan), 40, 2)) is None
    assert infer(Sample(sample.seeds, sample.values_S, np.empty((2, 0)), 40, 2)) is None
    assert infer(measured(np.ones((1, 1)))) is None
