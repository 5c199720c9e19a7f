from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sslm_platform.statistics import (
    Estimate,
    aggregate_seeds,
    estimate,
    paired_difference,
    percentile_interval,
    resample_counts,
)


def test_counts_are_multinomial_draws():
    counts_RN = resample_counts(50, 4000, seed=3)
    assert counts_RN.dtype == np.uint16
    assert (counts_RN.sum(axis=1) == 50).all()
    # A multinomial cell with p = 1/N: mean 1, variance 1 - 1/N; two cells: covariance -1/N.
    assert counts_RN.mean() == pytest.approx(1)
    assert counts_RN.astype(float).var(axis=0).mean() == pytest.approx(1 - 1 / 50, rel=0.02)
    pair = np.cov(counts_RN[:, ::2].ravel().astype(float), counts_RN[:, 1::2].ravel().astype(float))
    assert pair[0, 1] == pytest.approx(-1 / 50, abs=0.01)


def test_counts_depend_on_nothing_but_their_arguments():
    np.random.seed(0)
    first = resample_counts(20, 5, seed=1)
    np.random.seed(1)
    assert (first == resample_counts(20, 5, seed=1)).all()
    assert (first != resample_counts(20, 5, seed=2)).any()


@pytest.mark.parametrize(("num_examples", "num_resamples"), [(0, 10), (10, 0)])
def test_nothing_to_resample_is_an_error(num_examples: int, num_resamples: int):
    with pytest.raises(ValueError, match="must be >= 1"):
        resample_counts(num_examples, num_resamples, seed=0)


def test_interval_of_a_mean_agrees_with_scipy():
    data_N = np.random.default_rng(5).exponential(size=200)
    means_R = resample_counts(200, 20000, seed=0) @ data_N / 200
    theirs = stats.bootstrap(
        (data_N,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    assert percentile_interval(means_R) == pytest.approx(tuple(theirs), abs=0.01)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(11)
    counts_RN = resample_counts(100, 400, seed=0)
    samples_MN = rng.random((600, 100)) < 0.7
    intervals = np.array([percentile_interval(counts_RN @ sample_N / 100) for sample_N in samples_MN])
    coverage = ((intervals[:, 0] <= 0.7) & (intervals[:, 1] >= 0.7)).mean()
    assert 0.92 < coverage < 0.97


def test_undefined_resamples_are_left_out():
    assert percentile_interval([np.nan, 1.0, 3.0, np.nan], confidence=1.0) == (1.0, 3.0)
    assert np.isnan(percentile_interval([np.nan])).all()
    assert estimate(0.5, np.empty(0)) == Estimate(0.5)


def test_pairing_narrows_the_interval_and_follows_the_metrics_direction():
    rng = np.random.default_rng(2)
    shared_N, counts_RN = rng.normal(size=300), resample_counts(300, 1000, seed=0)
    better_N = shared_N + 0.2 + 0.05 * rng.normal(size=300)
    ours_R, theirs_R = counts_RN @ better_N / 300, counts_RN @ shared_N / 300
    gain, gain_R = paired_difference(better_N.mean(), shared_N.mean(), ours_R, theirs_R)
    low, high = percentile_interval(gain_R)
    reference = stats.bootstrap(
        (better_N - shared_N,), np.mean, n_resamples=5000, method="percentile", rng=rng
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(reference), abs=0.003)
    assert low < gain < high
    unpaired = np.ptp(percentile_interval(ours_R))
    assert high - low < unpaired / 5
    loss, loss_R = paired_difference(2.0, 3.0, ours_R, theirs_R, higher_is_better=False)
    assert loss == 1.0
    np.testing.assert_array_equal(loss_R, -gain_R)


def test_without_matching_resamples_a_difference_has_no_interval():
    gain, gain_R = paired_difference(0.8, 0.7, [0.8, 0.8], [0.7])
    assert estimate(gain, gain_R) == Estimate(pytest.approx(0.1))


def test_one_seed_keeps_the_interval_over_examples():
    resamples_R = np.random.default_rng(0).normal(size=500)
    result, mean_R = aggregate_seeds([0.1], resamples_R[None])
    np.testing.assert_array_equal(mean_R, resamples_R)
    assert (result.low, result.high) == percentile_interval(resamples_R)


def test_seeds_add_the_variance_of_their_mean():
    # No noise over examples: what is left is the seeds', whose mean has variance s^2 / S.
    values_S = np.array([0.1, 0.4, 0.2, 0.7])
    result, mean_R = aggregate_seeds(values_S, np.repeat(values_S[:, None], 20000, axis=1))
    assert result.value == pytest.approx(0.35)
    assert mean_R.var() == pytest.approx(values_S.var(ddof=1) / 4, rel=0.03)


def test_excludes_zero_needs_an_interval():
    assert Estimate(1.0, 0.1, 2.0).excludes_zero
    assert Estimate(-1.0, -2.0, -0.1).excludes_zero
    assert not Estimate(1.0, 0.0, 2.0).excludes_zero
    assert not Estimate(1.0).excludes_zero
