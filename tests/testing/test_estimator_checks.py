"""Every check of estimators fails on one that breaks its rule."""

import numpy as np
import pytest

from sslm_platform.kinds import EvidenceKind, OutputKind
from sslm_platform.testing import estimator_checks as checks
from sslm_platform.testing.cases import Case
from sslm_platform.types import EstimatorDef


def separation(evidence):
    """Return how much of the features' variance lies between the labels."""
    f = evidence.features
    labels = np.unique(f.targets_N)
    means = np.stack([f.rows_ND[f.targets_N == label].mean(axis=0) for label in labels])
    return float(np.var(means, axis=0).sum() / np.var(f.rows_ND, axis=0).sum())


class Right:
    def score(self, evidence):
        return separation(evidence)


class Array:
    def score(self, evidence):
        return np.array([separation(evidence)])


class Wide:
    """Inverts a covariance that has no inverse when there are fewer rows than columns."""

    def score(self, evidence):
        num_rows, size = evidence.features.rows_ND.shape
        return separation(evidence) if num_rows > size else np.inf


class Greedy:
    def score(self, evidence):
        return separation(evidence) + evidence.log.affinities[0]


class Counting:
    calls = 0

    def score(self, evidence):
        self.calls += 1
        return separation(evidence) + self.calls


class Writing:
    def score(self, evidence):
        rows = evidence.features.rows_ND
        rows -= rows.mean(axis=0)
        return separation(evidence)


class FirstRow:
    def score(self, evidence):
        return separation(evidence) + float(evidence.features.rows_ND[0, 0])


class ReadsIds:
    def score(self, evidence):
        return separation(evidence) + float(evidence.features.targets_N.mean())


class Backwards:
    def score(self, evidence):
        return -separation(evidence)


TWINS = [
    (checks.check_score_is_finite, Array, "must return a float"),
    (checks.check_score_is_finite, Wide, "12 rows of 40 columns score inf"),
    (checks.check_needs_are_declared, Greedy, "reads log without naming it"),
    (checks.check_estimator_is_pure, Counting, "earlier calls"),
    (checks.check_estimator_is_pure, Writing, "others share"),
    (checks.check_order_of_rows_does_not_matter, FirstRow, "another order"),
    (checks.check_numbers_of_labels_do_not_matter, ReadsIds, "other ids"),
    (checks.check_help_scores_higher, Backwards, "a source that helps scores"),
]


def case(component, **more):
    needs, kind = frozenset({EvidenceKind.FEATURES}), OutputKind.SEQUENCE_LOGITS
    return Case(EstimatorDef("made", lambda options: component(), needs, frozenset({kind}), **more), {}, kind)


@pytest.mark.parametrize(("check", "broken", "message"), TWINS, ids=lambda v: getattr(v, "__name__", None))
def test_check_fails_on_a_broken_component(check, broken, message):
    with pytest.raises(AssertionError, match=message):
        check(case(broken))


@pytest.mark.parametrize("check", checks.ESTIMATOR_CHECKS, ids=lambda check: check.__name__)
def test_checks_pass_a_right_one(check):
    check(case(Right))


def test_a_signed_score_that_is_never_negative_is_found():
    with pytest.raises(AssertionError, match="signed, but help scores"):
        checks.check_help_scores_higher(case(Right, signed=True))


def test_every_check_has_a_twin():
    assert {check for check, *_ in TWINS} == set(checks.ESTIMATOR_CHECKS)
