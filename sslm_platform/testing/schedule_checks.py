"""Checks of samplers and balancers."""

from __future__ import annotations

import math

import numpy as np

from sslm_platform.interfaces import SamplingState
from sslm_platform.testing.cases import Case
from sslm_platform.types import BalancerDef, SamplerDef

STATES = (
    SamplingState(0, 10, ("a", "b", "c"), (100, 1_000, 10_000)),
    SamplingState(9, 10, ("a", "b", "c"), (1, 1, 10_000_000)),
    SamplingState(5, 10, ("only",), (7,)),
)
TASKS = ("sentiment@tweets", "tagging@addresses", "mlm@reviews")


def check_probabilities(case: Case[SamplerDef]) -> None:
    """Probabilities are one for each feed, not negative, and sum to 1."""
    sampler = case.definition.build(case.parsed_options())
    for state in STATES:
        p_F = np.asarray(sampler.probabilities(state))
        assert p_F.shape == (len(state.feeds),), f"{len(state.feeds)} feeds got {p_F.shape} probabilities"
        assert (p_F >= 0).all(), f"not all are probabilities: {p_F}"
        assert math.isclose(p_F.sum(), 1.0, abs_tol=1e-9), f"probabilities sum to {p_F.sum()}"


def check_sampler_is_pure(case: Case[SamplerDef]) -> None:
    """A state gives the same probabilities whatever was asked before: ranks and resumed runs agree."""
    sampler = case.definition.build(case.parsed_options())
    first = [np.array(sampler.probabilities(state)) for state in STATES]
    again = [np.array(sampler.probabilities(state)) for state in reversed(STATES)][::-1]
    same = all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert same, "probabilities depend on earlier calls or on chance"


def check_weights(case: Case[BalancerDef]) -> None:
    """Every task has one weight, finite and above 0."""
    weights = case.definition.build(case.parsed_options()).weights(TASKS)
    assert set(weights) == set(TASKS), f"weights are for {sorted(weights)}; the tasks are {sorted(TASKS)}"
    wrong = {task: w for task, w in weights.items() if not (math.isfinite(w) and w > 0)}
    assert not wrong, f"weights must be finite and above 0: {wrong}"


def check_balancer_is_pure(case: Case[BalancerDef]) -> None:
    """The same tasks give the same weights."""
    balancer = case.definition.build(case.parsed_options())
    first = dict(balancer.weights(TASKS))
    assert first == dict(balancer.weights(TASKS)), "weights depend on earlier calls or on chance"


SAMPLER_CHECKS = (check_probabilities, check_sampler_is_pure)
BALANCER_CHECKS = (check_weights, check_balancer_is_pure)
