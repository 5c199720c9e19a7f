"""A definition with its options: what a plugin's own check may say."""

import pytest

from sslm_platform.errors import PluginError, Problem
from sslm_platform.spec.resolved import Bound
from sslm_platform.types import BalancerDef, Options, Provenance


def bound(check):
    definition = BalancerDef("odd", lambda options: None, check=check)
    return Bound(definition, Options(), Provenance("odd", "odd-dist", "1.0"))


def test_problems_are_listed():
    found = bound(lambda options, tasks: iter([Problem("weights", f"{tasks} are wrong")])).wrong("all")
    assert found == [Problem("weights", "all are wrong")]


@pytest.mark.parametrize("given", [None, "weights are wrong", [False]])
def test_a_check_that_gives_something_else_is_named_with_its_distribution(given):
    with pytest.raises(PluginError, match="odd-dist: 'odd': its check must yield problems, and gave"):
        bound(lambda options, tasks: given).wrong("all")
