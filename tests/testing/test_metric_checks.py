"""Every check of metrics fails on a metric that breaks its rule."""

import dataclasses

import numpy as np
import pytest
from sslm_metrics.classification import Accuracy
from sslm_metrics.values import Pearson

from sslm_platform.interfaces import Metric
from sslm_platform.kinds import OutputKind
from sslm_platform.plugins import host
from sslm_platform.testing import metric_checks as checks
from sslm_platform.testing.cases import Case


class NumpyFloat(Accuracy):
    def score(self, scored):
        return np.float64(super().score(scored))


class WeightedResample(Accuracy):
    def resample(self, scored, counts_RN):
        return super().resample(scored, counts_RN) * 0.9


class IgnoresCounts(Accuracy):
    """Its resample of ones is right, which is why one check is not enough."""

    def resample(self, scored, counts_RN):
        return np.full(len(counts_RN), self.score(scored))


class FirstCountsTwice(Accuracy):
    def statistics(self, scored):
        statistics_NK = super().statistics(scored)
        statistics_NK[0] *= 2
        return statistics_NK


class DividesByZero(Accuracy):
    def finalize(self, totals_RK):
        with np.errstate(invalid="ignore"):
            return totals_RK[:, 0] / totals_RK[:, 1]


class Centred(Accuracy):
    def statistics(self, scored):
        statistics_NK = super().statistics(scored)
        return statistics_NK - [statistics_NK[:, 0].mean(), 0]


class Constant(Metric):
    def score(self, scored):
        return 1.0


def case_of(broken, name="accuracy", kind=OutputKind.TOKEN_LOGITS, **changes):
    definition = host().registry.metrics.get(name).definition
    build = definition.build if broken is None else lambda options, context: broken()
    return Case(dataclasses.replace(definition, build=build, **changes), {}, kind)


TWINS = [
    (checks.check_score_is_a_float, case_of(NumpyFloat), "float64, not float"),
    (checks.check_resample_of_ones_is_score, case_of(WeightedResample), "resample of ones"),
    (checks.check_resample_is_score_of_repeats, case_of(IgnoresCounts), "repeated examples"),
    (checks.check_example_order, case_of(FirstCountsTwice), "order of the examples"),
    (checks.check_perfect_is_best, case_of(None, best=2.0), "best says 2"),
    (checks.check_direction, case_of(None, higher_is_better=False), "is higher_is_better right"),
    (checks.check_direction, case_of(Constant), "as well as right ones"),
    (checks.check_degenerate_input, case_of(DividesByZero), "no items: score is nan"),
    (checks.check_statistics_are_of_one_example, case_of(Centred), "subclass Metric"),
]


@pytest.mark.parametrize(("check", "case", "message"), TWINS, ids=lambda v: getattr(v, "__name__", None))
def test_check_fails_on_a_broken_metric(check, case, message):
    with pytest.raises(AssertionError, match=message):
        check(case)


def test_every_check_has_a_twin():
    expected = {*checks.ANY_METRIC, *checks.RANKING_METRIC, checks.check_statistics_are_of_one_example}
    assert {check for check, _, _ in TWINS} == expected


def test_metric_without_statistics_is_exempt_from_their_check():
    case = case_of(Pearson, "pearson", OutputKind.SEQUENCE_VALUES)
    assert checks.check_statistics_are_of_one_example not in checks.metric_checks(case)


def test_metric_that_ranks_nothing_needs_no_best_value():
    case = case_of(None, "distinct", OutputKind.GENERATED_TEXT)
    assert not set(checks.RANKING_METRIC) & set(checks.metric_checks(case))


def test_object_that_is_no_metric_is_refused():
    with pytest.raises(AssertionError, match="subclass of Metric; got dict"):
        checks.build(case_of(dict))
