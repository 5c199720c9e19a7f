"""Checks of estimators of transferability."""

from __future__ import annotations

import math

from sslm_platform.errors import PluginError
from sslm_platform.testing.cases import Case
from sslm_platform.testing.evidence import Made, frozen, make_evidence, renumbered, shuffled
from sslm_platform.types import EstimatorDef

NUM_SEEDS = 3
TOLERANCE = 1e-6


def check_score_is_finite(case: Case[EstimatorDef]) -> None:
    """A score is a finite float, with more rows than columns and with fewer."""
    for num_rows, size in ((60, 6), (12, 40)):
        value = _score(case, make_evidence(case.kind, num_rows=num_rows, size=size))
        assert isinstance(value, float), f"score must return a float; got {type(value).__name__}"
        assert math.isfinite(value), f"{num_rows} rows of {size} columns score {value}"


def check_needs_are_declared(case: Case[EstimatorDef]) -> None:
    """An estimator reads what it declares: the platform makes nothing else."""
    try:
        _score(case, make_evidence(case.kind))
    except PluginError as error:
        raise AssertionError(str(error)) from error


def check_estimator_is_pure(case: Case[EstimatorDef]) -> None:
    """Evidence gives the same score whatever was asked before, and stays as it was."""
    estimator = case.definition.build(case.parsed_options())
    made = [make_evidence(case.kind, seed=seed) for seed in range(NUM_SEEDS)]
    try:
        first = [estimator.score(m.only(case.definition.needs)) for m in made]
        again = [estimator.score(m.only(case.definition.needs)) for m in reversed(made)][::-1]
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise AssertionError("the estimator writes into evidence that others share") from error
    assert first == again, f"scores depend on earlier calls or on chance: {first} became {again}"


def check_order_of_rows_does_not_matter(case: Case[EstimatorDef]) -> None:
    """A split in another order has the same score."""
    made = make_evidence(case.kind)
    _assert_close(_score(case, made), _score(case, frozen(shuffled(made))), "in another order the rows score")


def check_numbers_of_labels_do_not_matter(case: Case[EstimatorDef]) -> None:
    """Labels are names: their ids' order is the platform's."""
    made = make_evidence(case.kind)
    _assert_close(
        _score(case, made), _score(case, frozen(renumbered(made))), "with other ids the labels score"
    )


def check_help_scores_higher(case: Case[EstimatorDef]) -> None:
    """A source that helps has a higher score than one that does not; below 0 where the score is signed."""
    for seed in range(NUM_SEEDS):
        good = _score(case, make_evidence(case.kind, seed=seed))
        bad = _score(case, make_evidence(case.kind, helps=False, seed=seed))
        assert good > bad, f"a source that helps scores {good}, one that does not {bad}"
        if case.definition.signed:
            assert good > 0 > bad, f"signed, but help scores {good} and harm {bad}"


def _score(case: Case[EstimatorDef], made: Made) -> float:
    value: float = case.definition.build(case.parsed_options()).score(made.only(case.definition.needs))
    return value


def _assert_close(a: float, b: float, what: str) -> None:
    assert math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE), f"{what} {b}, and {a} before"


ESTIMATOR_CHECKS = (
    check_score_is_finite,
    check_needs_are_declared,
    check_estimator_is_pure,
    check_order_of_rows_does_not_matter,
    check_numbers_of_labels_do_not_matter,
    check_help_scores_higher,
)
