from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sslm_platform.statistics import percentile_interval, resample_counts


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
