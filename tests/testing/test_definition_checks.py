"""Every check of options fails on options that break its rule."""

import pytest
from pydantic import ConfigDict, field_validator

from sslm_platform.testing import definition_checks as checks
from sslm_platform.testing.cases import Case
from sslm_platform.types import BalancerDef, Options


class Mutable(Options):
    model_config = ConfigDict(frozen=False)
    weight: float = 1.0


class Lax(Options):
    model_config = ConfigDict(extra="ignore")


class Halving(Options):
    """Changes a value each time it is read: the run folder would not hold what was used."""

    weight: float = 1.0

    @field_validator("weight")
    @classmethod
    def _halve(cls, weight):
        return weight / 2


TWINS = [
    (checks.check_options_round_trip, Halving, "through JSON"),
    (checks.check_options_are_frozen, Mutable, "weight can be assigned"),
    (checks.check_unknown_option_is_refused, Lax, "extra='forbid'"),
    (checks.check_has_summary, Options, "no summary"),
]


@pytest.mark.parametrize(("check", "options", "message"), TWINS, ids=lambda v: getattr(v, "__name__", None))
def test_check_fails_on_broken_options(check, options, message):
    case = Case(BalancerDef("broken", lambda o: None, options=options), {})
    with pytest.raises(AssertionError, match=message):
        check(case)


def test_every_check_has_a_twin():
    assert {check for check, *_ in TWINS} == set(checks.DEFINITION_CHECKS)
