"""Every check of balancers fails on one that breaks its rule."""

import pytest

from sslm_platform.testing import balancer_checks as checks
from sslm_platform.testing.cases import Case
from sslm_platform.types import BalancerDef


class AllZero:
    def weights(self, state):
        return dict.fromkeys(state.shares, 0.0)


class Negative:
    def weights(self, state):
        return dict.fromkeys(state.shares, -1.0)


class ForgetsATask:
    def weights(self, state):
        return {task: 1.0 for task in state.shares if task != "mlm@reviews"}


class Explodes:
    """Is right only until it learns."""

    def weights(self, state):
        return dict.fromkeys(state.shares, 1.0 / (1 - state.memory.get("seen", 0) * 1.0 + 1e-300))

    def observe(self, state):
        return {"seen": state.memory.get("seen", 0) + 0.5}


class Drifting:
    weight = 1.0

    def weights(self, state):
        self.weight *= 2
        return dict.fromkeys(state.shares, self.weight)


class NotJson:
    """Counts under keys that JSON turns into text."""

    def weights(self, state):
        return dict.fromkeys(state.shares, 1.0 + state.memory.get(0, 0))

    def observe(self, state):
        return {0: state.memory.get(0, 0) + 1}


class InPlace:
    def weights(self, state):
        return dict.fromkeys(state.shares, 1.0)

    def observe(self, state):
        state.memory["seen"] = state.memory.get("seen", 0) + 1
        return state.memory


TWINS = [
    (checks.check_weights, AllZero, "no weight above 0"),
    (checks.check_weights, Negative, "not negative"),
    (checks.check_weights, ForgetsATask, "no weight for"),
    (checks.check_weights, Explodes, "not negative"),
    (checks.check_balancer_is_pure, Drifting, "earlier calls"),
    (checks.check_balancer_survives_a_checkpoint, NotJson, "through a checkpoint"),
    (checks.check_balancer_leaves_old_memory, InPlace, "it was given"),
]


@pytest.mark.parametrize(("check", "broken", "message"), TWINS, ids=lambda v: getattr(v, "__name__", None))
def test_check_fails_on_a_broken_component(check, broken, message):
    with pytest.raises(AssertionError, match=message):
        check(Case(BalancerDef("broken", lambda options: broken())))


def test_every_check_has_a_twin():
    assert {check for check, *_ in TWINS} == set(checks.BALANCER_CHECKS)
