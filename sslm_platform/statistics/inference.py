"""Intervals and tests for the mean over seeds of a quantity measured on test examples.

Model. The gain of seed ``s`` on example ``i`` is ``mu + a_s + b_i + c_si``: seeds and examples are both
drawn, and they are crossed, because all seeds are scored on the same test split. With S seeds and N examples
the mean has the variance

    var_a / S  +  var_b / N  +  var_c / (S N).

What is at hand estimates, in expectation,

    A   the sample variance of the seeds' values, over S   var_a / S  +  var_c / (S N)
    V   the bootstrap variance of the mean                 var_b / N  +  var_c / (S N)
    C   the mean bootstrap covariance of two seeds         var_b / N

so that ``A + V`` would count the interaction twice, and ``A + C`` counts it once. C needs no second
bootstrap: with v the variances of the single seeds, ``C = (S V - mean v) / (S - 1)``; below 0 it counts as 0.
This is the two-way random-effects analysis of variance (Searle, Casella and McCulloch, *Variance Components*,
1992, chapter 4), in the form in which radiology compares readers who all read the same cases (Obuchowski and
Rockette, *Communications in Statistics: Simulation and Computation* 24, 1995): covariances of resamples stand
for the mean squares of examples, so that any metric that can be resampled will do. A has S - 1 degrees of
freedom, C about N - 1; :class:`~sslm_platform.statistics.reference.Errors` puts them together.

A of fewer than :data:`MIN_SEEDS` seeds says too little: below that the variance is V alone, and what follows
holds for the trained models, not for the way in which they were trained.

Shape suffixes: R resamples, S seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sslm_platform.statistics.bootstrap import CONFIDENCE, percentile_interval
from sslm_platform.statistics.reference import Errors
from sslm_platform.statistics.samples import Sample

MIN_SEEDS = 5
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval; ``low`` and ``high`` are None where no interval can be given."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Inference:
    """What is known of a mean, and of the hypothesis that it is 0.

    Attributes:
        value: the mean over seeds.
        errors: the distribution of its error.
        conditional: the error is over test examples alone, for the models that were trained.
        p: two-sided p-value of ``value`` against 0.
        p_examples: the same over test examples alone: could other examples have given 0 with these models?
        p_seeds: paired t test over seeds alone: could other seeds have given 0 on these examples? None below
            :data:`MIN_SEEDS` seeds, and where all seeds are equal.
        effect_examples: the mean in standard deviations of the examples (Cohen's d_z of paired differences;
            Cohen, *Statistical Power Analysis*, 1988; Lakens, *Frontiers in Psychology* 4, 2013). Unlike p it
            does not depend on the size of the test split. None where no example differs.
        effect_seeds: the same in standard deviations of the seeds: how far the mean stands out of what
            another seed changes. None where ``p_seeds`` is None.
    """

    value: float
    errors: Errors
    conditional: bool
    p: float
    p_examples: float
    p_seeds: float | None
    effect_examples: float | None
    effect_seeds: float | None

    @property
    def standard_error(self) -> float:
        """Of ``value``."""
        return self.errors.standard_error

    def estimate(self, confidence: float = CONFIDENCE) -> Estimate:
        """Return the value with its symmetric interval, which excludes 0 where ``p < 1 - confidence``."""
        half = self.errors.quantile(1 - confidence)
        return Estimate(self.value, self.value - half, self.value + half)


def infer(sample: Sample) -> Inference | None:
    """Test a sample's mean against 0; None without resamples, or with a single test example.

    Of N examples no p-value is below ``2^(1 - N)``, the least that a paired test by flipping signs can give.
    """
    defined_SR = sample.resamples_SR[:, ~np.isnan(sample.resamples_SR).any(axis=0)]
    num_resamples, num_examples = defined_SR.shape[1], sample.num_examples
    if num_resamples < 2 or num_examples < 2:
        return None
    # A plain bootstrap variance is too small by (N - 1) / N, and R resamples know it with R - 1 df.
    unbiased = num_examples / (num_examples - 1)
    df_examples = 1 / (1 / (num_examples - 1) + 1 / (num_resamples - 1))
    of_mean = _variance(defined_SR.mean(axis=0)) * unbiased
    least = 2.0 ** max(1 - num_examples, -1000)
    num_seeds, value = len(sample.seeds), sample.value
    conditional = Errors(0.0, 1.0, math.sqrt(of_mean), df_examples)
    p_examples = max(conditional.p(value), least)
    effect_examples = _ratio(value, math.sqrt(of_mean * num_examples))
    if sample.num_seeds < MIN_SEEDS:
        return Inference(value, conditional, True, p_examples, p_examples, None, effect_examples, None)
    of_seeds = _variance(sample.values_S) / num_seeds
    of_one = float(defined_SR.var(axis=1, ddof=1).mean()) * unbiased
    shared = max(0.0, (num_seeds * of_mean - of_one) / (num_seeds - 1))
    errors = Errors(math.sqrt(of_seeds), num_seeds - 1, math.sqrt(shared), df_examples)
    return Inference(
        value=value,
        errors=errors,
        conditional=False,
        p=max(errors.p(value), least),
        p_examples=p_examples,
        p_seeds=Errors(math.sqrt(of_seeds), num_seeds - 1, 0.0, 1.0).p(value) if of_seeds else None,
        effect_examples=effect_examples,
        effect_seeds=_ratio(value, math.sqrt(of_seeds * num_seeds)),
    )


def score_estimate(sample: Sample, higher_is_better: bool, best: float) -> Estimate:
    """Return the mean of scores with an interval that ends at the best score.

    With fewer than :data:`MIN_SEEDS` seeds it has percentiles of the resamples: near the best score they are
    not symmetric. Else it is cut at the best, and covers as often as before.
    """
    if not sample.resamples_SR.size:
        return Estimate(sample.value)
    if sample.num_seeds < MIN_SEEDS:
        low, high = percentile_interval(sample.resamples_SR.mean(axis=0))
        return Estimate(sample.value) if np.isnan(low) else Estimate(sample.value, low, high)
    inference = infer(sample)
    if inference is None:
        return Estimate(sample.value)
    found = inference.estimate()
    assert found.low is not None
    assert found.high is not None
    if higher_is_better:
        return replace(found, high=max(found.value, min(found.high, best)))
    return replace(found, low=min(found.value, max(found.low, best)))


def _variance(values: np.ndarray) -> float:
    """Return the sample variance; what is left of equal values after rounding is none."""
    variance = float(values.var(ddof=1))
    return variance if variance > ROUNDING**2 else 0.0


def _ratio(value: float, deviation: float) -> float | None:
    return value / deviation if deviation else None
