"""Every check of samplers fails on one that breaks its rule."""

import numpy as np
import pytest

from sslm_platform.testing import sampler_checks as checks
from sslm_platform.testing.cases import Case
from sslm_platform.types import SamplerDef


class Unnormalised:
    def probabilities(self, state):
        return np.asarray(state.sizes, dtype=float)


class TooFew:
    def probabilities(self, state):
        return np.ones(1)


class Counting:
    calls = 0

    def probabilities(self, state):
        self.calls += 1
        shares = np.arange(1, len(state.feeds) + 1) ** float(self.calls)
        return shares / shares.sum()


class LearnsAside:
    """Keeps in itself what belongs into the memory."""

    seen = 0

    def probabilities(self, state):
        shares = np.arange(1, len(state.feeds) + 1) ** float(self.seen)
        return shares / shares.sum()

    def observe(self, state, observation):
        self.seen += 1
        return {}


class NotJson:
    """Counts under keys that JSON turns into text."""

    def probabilities(self, state):
        shares = np.arange(1, len(state.feeds) + 1) ** float(state.memory.get(0, 0))
        return shares / shares.sum()

    def observe(self, state, observation):
        return {0: state.memory.get(0, 0) + 1}


class GoesNegative:
    """Is right only until it learns."""

    def probabilities(self, state):
        shares = np.full(len(state.feeds), 1.0 / len(state.feeds))
        shares[0] -= state.memory.get("seen", 0)
        shares[-1] += state.memory.get("seen", 0)
        return shares

    def observe(self, state, observation):
        return {"seen": state.memory.get("seen", 0) + 1}


class InPlace:
    def probabilities(self, state):
        return np.full(len(state.feeds), 1.0 / len(state.feeds))

    def observe(self, state, observation):
        state.memory["seen"] = state.memory.get("seen", 0) + 1
        return state.memory


class Unordered:
    def probabilities(self, state):
        return np.full(len(state.feeds), 1.0 / len(state.feeds))

    def stages(self, state):
        return [(state.num_steps, state.feeds), (1, state.feeds)]


TWINS = [
    (checks.check_stages, Unordered, "stages end after"),
    (checks.check_probabilities, Unnormalised, "sum to"),
    (checks.check_probabilities, TooFew, "3 feeds got"),
    (checks.check_sampler_is_pure, Counting, "earlier calls"),
    (checks.check_probabilities, GoesNegative, "not all are"),
    (checks.check_sampler_is_pure, LearnsAside, "earlier calls"),
    (checks.check_memory_survives_a_checkpoint, NotJson, "through a checkpoint"),
    (checks.check_observing_changes_nothing_else, InPlace, "it was given"),
]


@pytest.mark.parametrize(("check", "broken", "message"), TWINS, ids=lambda v: getattr(v, "__name__", None))
def test_check_fails_on_a_broken_component(check, broken, message):
    staged = hasattr(broken, "stages")
    with pytest.raises(AssertionError, match=message):
        check(Case(SamplerDef("broken", lambda options: broken(), staged=staged)))


def test_every_check_has_a_twin():
    assert {check for check, *_ in TWINS} == set(checks.SAMPLER_CHECKS)
