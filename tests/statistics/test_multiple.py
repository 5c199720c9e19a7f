from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sslm_platform.statistics import Errors, adjusted, detectable


def test_one_group_is_benjamini_hochbergs_procedure():
    p_M = np.random.default_rng(0).beta(0.4, 1, size=40)
    ranked = sorted(p_M)
    passed = max((k for k in range(1, 41) if ranked[k - 1] <= 0.05 * k / 40), default=0)
    found = [p for p, q in zip(p_M, adjusted(p_M, ["a"] * 40), strict=True) if q <= 0.05]
    assert 0 < passed < 40
    assert sorted(found) == ranked[:passed]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_values_of_one_group_are_scipys(p_M: list[float]):
    assert adjusted(p_M, ["a"] * len(p_M)) == pytest.approx(stats.false_discovery_control(p_M))


def test_certain_tests_do_not_lower_the_bar_for_another_group():
    p_M, groups_M = [1e-9] * 10 + [0.04, 0.5], ["certain"] * 10 + ["open"] * 2
    assert adjusted(p_M, ["one"] * 12)[10] < 0.05
    assert adjusted(p_M, groups_M)[10] == pytest.approx(0.08)


def test_groups_are_corrected_for_all_tests_too():
    """Three groups with an own correction each would find something too often where there is nothing."""
    assert adjusted([0.03, 0.9, 0.8], ["a", "b", "c"])[0] == pytest.approx(0.09)
    assert adjusted([], []) == []


@pytest.mark.parametrize("num_tests", [1, 12, 1024])
def test_with_a_known_standard_error_detectable_is_the_textbooks(num_tests: int):
    z = stats.norm.isf(0.025 / num_tests) + stats.norm.isf(0.2)
    assert detectable([Errors(0, 4, 0.01, 1e7)] * 3, num_tests) == pytest.approx(0.01 * z, rel=1e-3)


def test_few_seeds_and_many_tests_find_little():
    few, more = ([Errors(0.01, df, 0.0, 500)] for df in (4, 9))
    assert detectable(few, 16) > 1.5 * detectable(more, 16)
    assert math.isfinite(detectable([Errors(0.01, 1, 0, 500)], 1024))
    assert detectable([Errors(0, 4, 0, 500)], 9) == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize(("num_seeds", "num_tests", "num_cells"), [(5, 9, 1), (5, 9, 3), (10, 64, 8)])
def test_another_experiment_finds_what_one_promised(
    share: float, num_seeds: int, num_tests: int, num_cells: int
):
    """Both experiments estimate their standard errors; ``share`` of the true variance is the seeds'."""
    rng, df, level = np.random.default_rng(1), num_seeds - 1, 0.05 / num_tests
    found = []
    for _ in range(600):
        *first, second = (
            Errors(math.sqrt(share * square), df, math.sqrt(1 - share), 400)
            for square in rng.chisquare(df, num_cells + 1) / df
        )
        found.append(second.p(rng.normal() + detectable(first, num_tests)) <= level)
    assert 0.8 - 0.05 < np.mean(found) < 0.9
