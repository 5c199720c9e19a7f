"""One quantity measured for several seeds on one test split, and what is made of such samples.

Shape suffixes: R resamples, S seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Combine = Callable[..., np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Values of one quantity by seed, with bootstrap resamples over the test examples.

    Seeds are independent repetitions; the examples, and the multiplicities of the resamples, are the same for
    all of them.

    Attributes:
        seeds: the seeds, ascending.
        values_S: the value of each seed.
        resamples_SR: its value on each resample; (S, 0) where there are none.
        num_examples: test examples; of several test splits the smallest.
        num_seeds: seeds behind every part of it: S, or the fewest that a part of a :func:`mean_of` had.
    """

    seeds: tuple[int, ...]
    values_S: np.ndarray
    resamples_SR: np.ndarray
    num_examples: int
    num_seeds: int

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return float(self.values_S.mean())


def combine(function: Combine, *samples: Sample) -> Sample:
    """Apply a function of arrays to samples seed by seed and resample by resample: paired both ways.

    Args:
        function: takes one array a sample; the arrays are (S,) for the values and (S, R) for the resamples.
        samples: of the same seeds. Where their numbers of resamples differ the result has none.
    """
    first = samples[0]
    assert all(sample.seeds == first.seeds for sample in samples), "samples of different seeds"
    if len({sample.resamples_SR.shape for sample in samples}) == 1:
        resamples_SR = function(*(sample.resamples_SR for sample in samples))
    else:
        resamples_SR = np.empty((len(first.seeds), 0))
    values_S = function(*(sample.values_S for sample in samples))
    return Sample(first.seeds, values_S, resamples_SR, first.num_examples, first.num_seeds)


def mean_of(samples: Sequence[Sample]) -> Sample:
    """Average samples, each with the same weight, keeping what they share.

    The value is the mean of the samples' own means. Samples share seeds (one seed moves all that was trained
    with it) and test examples (one example moves every model that was scored on it), so their errors may not
    be added up as if they were independent. What seed ``s`` contributes to the mean of P samples is
    ``sum_p (x_ps - mean_p) / (P S_p)``; the result holds ``mean + S * contribution`` as its value of seed
    ``s``. Their mean is the mean, and their variance over S estimates its variance with seeds as clusters
    (Liang and Zeger, *Longitudinal data analysis using generalized linear models*, 1986, with the factor
    S / (S - 1)). Where every sample has every seed that value is simply the mean of seed ``s``. Resamples are
    averaged entry by entry, so examples that samples share are drawn for all of them at once.
    """
    if len(samples) == 1:
        return samples[0]
    lengths = {sample.resamples_SR.shape[1] for sample in samples}
    num_resamples = lengths.pop() if len(lengths) == 1 else 0
    if len({sample.seeds for sample in samples}) == 1:
        seeds = samples[0].seeds
        values_S = np.mean([sample.values_S for sample in samples], axis=0)
        resamples_SR = np.mean([sample.resamples_SR[:, :num_resamples] for sample in samples], axis=0)
    else:
        seeds, values_S, resamples_SR = _over_other_seeds(samples, num_resamples)
    num_examples = min(sample.num_examples for sample in samples)
    num_seeds = min(sample.num_seeds for sample in samples)
    return Sample(seeds, values_S, resamples_SR, num_examples, num_seeds)


def _over_other_seeds(
    samples: Sequence[Sample], num_resamples: int
) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Return seeds, values_S and resamples_SR of the mean of samples that do not all have the same seeds."""
    seeds = tuple(sorted({seed for sample in samples for seed in sample.seeds}))
    row = {seed: index for index, seed in enumerate(seeds)}
    values_S = np.full(len(seeds), np.mean([sample.value for sample in samples]))
    resamples_SR = np.zeros((len(seeds), num_resamples))
    for sample in samples:
        rows = [row[seed] for seed in sample.seeds]
        weight = len(seeds) / (len(samples) * len(sample.seeds))
        values_S[rows] += weight * (sample.values_S - sample.value)
        resamples_SR[rows] += weight * sample.resamples_SR[:, :num_resamples]
    return seeds, values_S, resamples_SR
