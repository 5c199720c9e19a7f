from __future__ import annotations

import numpy as np
import pytest

from sslm_platform.statistics import Sample, combine, infer, mean_of


def sample(values, resamples_SR=None, seeds=None, num_examples=100) -> Sample:
    values_S = np.asarray(values, dtype=float)
    seeds = tuple(range(len(values_S))) if seeds is None else tuple(seeds)
    resamples_SR = np.empty((len(values_S), 0)) if resamples_SR is None else resamples_SR
    return Sample(seeds, values_S, resamples_SR, num_examples, len(values_S))


def test_differences_are_paired_by_seed_and_by_resample():
    rng = np.random.default_rng(0)
    hard_SR, gain_SR = rng.normal(size=(2, 50)), rng.normal(size=(2, 50))
    ours, theirs = sample([0.8, 0.6], hard_SR + gain_SR), sample([0.7, 0.4], hard_SR)
    difference = combine(lambda a, b: a - b, ours, theirs)
    np.testing.assert_allclose(difference.values_S, [0.1, 0.2])
    np.testing.assert_allclose(difference.resamples_SR, gain_SR)
    unpaired = combine(lambda a, b: a - b, ours, sample([0.7, 0.4], hard_SR[:, :10]))
    assert unpaired.resamples_SR.size == 0
    np.testing.assert_allclose(unpaired.values_S, [0.1, 0.2])


def test_a_mean_of_complete_samples_is_the_mean_of_each_seed():
    rng = np.random.default_rng(1)
    values_PS, resamples_PSR = rng.normal(size=(3, 5)), rng.normal(size=(3, 5, 20))
    mean = mean_of([sample(v, r) for v, r in zip(values_PS, resamples_PSR, strict=True)])
    np.testing.assert_allclose(mean.values_S, values_PS.mean(axis=0))
    np.testing.assert_allclose(mean.resamples_SR, resamples_PSR.mean(axis=0))


def test_a_missing_seed_moves_the_mean_of_its_own_sample_only():
    """Seeds differ in which samples have them: levels of samples must not pass for differences of seeds."""
    high, low = sample([10.0, 10.2, 9.8]), sample([0.1, -0.1], seeds=(1, 2))
    mean = mean_of([high, low])
    assert mean.value == pytest.approx(5)
    assert mean.seeds == (0, 1, 2)
    assert mean.num_seeds == 2
    assert mean.values_S.std() < 0.2  # plain means of each seed are 10, 5.15 and 4.85


def test_means_of_means_are_means():
    rng = np.random.default_rng(2)
    parts = [sample(v, r) for v, r in zip(rng.normal(size=(4, 5)), rng.normal(size=(4, 5, 9)), strict=True)]
    whole, halves = mean_of(parts), mean_of([mean_of(parts[:2]), mean_of(parts[2:])])
    np.testing.assert_allclose(whole.values_S, halves.values_S)
    np.testing.assert_allclose(whole.resamples_SR, halves.resamples_SR)


def test_the_mean_of_what_shares_seeds_and_examples_is_no_better_known():
    """Four sources that err alike are one measurement, four that err apart are four."""
    rng = np.random.default_rng(3)
    one = sample(rng.normal(size=6), rng.normal(size=(6, 400)))
    alike = infer(mean_of([one] * 4))
    assert alike.standard_error == pytest.approx(infer(one).standard_error)
    errors = []
    for _ in range(200):
        parts = [sample(rng.normal(size=6), 1e-6 * rng.normal(size=(6, 20))) for _ in range(4)]
        errors.append(infer(mean_of(parts)).standard_error ** 2)
    assert np.mean(errors) == pytest.approx(1 / 6 / 4, rel=0.1)


def test_different_numbers_of_resamples_leave_none():
    mean = mean_of([sample([1.0], np.ones((1, 5))), sample([2.0], np.ones((1, 6)))])
    assert mean.value == 1.5
    assert mean.resamples_SR.size == 0
    assert infer(mean) is None
