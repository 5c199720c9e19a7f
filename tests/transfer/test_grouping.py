"""Groups of tasks: against every possible choice, and properties of the search where there are too many."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from sslm_platform.transfer import grouping
from sslm_platform.transfer.grouping import group_tasks


def score(affinity, group, task):
    others = [affinity[i][task] for i in group if i != task]
    return sum(others) / len(others) if others else 0.0


def brute_force(affinity, budget):
    """The highest mean score over all choices of at most ``budget`` groups that cover all tasks."""
    tasks = range(len(affinity))
    groups = [g for size in range(1, len(affinity) + 1) for g in combinations(tasks, size)]
    best = -np.inf
    for count in range(1, budget + 1):
        for chosen in combinations(groups, count):
            if set().union(*chosen) == set(tasks):
                served = [max(score(affinity, g, t) for g in chosen if t in g) for t in tasks]
                best = max(best, sum(served) / len(served))
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("num_tasks", "budget"), [(3, 1), (4, 2), (5, 2), (4, 3)])
def test_small_groupings_are_the_best_of_all(seed, num_tasks, budget):
    affinity = np.random.default_rng(seed).normal(size=(num_tasks, num_tasks))
    found = group_tasks(affinity, budget)
    assert found.method == "exact"
    assert found.value == pytest.approx(brute_force(affinity.tolist(), budget))
    assert len(found.groups) <= budget
    for task, (group, value) in enumerate(zip(found.serves, found.scores, strict=True)):
        assert task in found.groups[group]
        assert value == pytest.approx(score(affinity, found.groups[group], task))


def test_local_search_finds_the_exact_value_or_comes_close(monkeypatch):
    shortfalls = []
    for seed in range(8):
        affinity = np.random.default_rng(seed).normal(size=(7, 7))
        exact = group_tasks(affinity, 3)
        with monkeypatch.context() as patch:
            patch.setattr(grouping, "EXACT_TASKS", 0)
            searched = group_tasks(affinity, 3)
        assert searched.method == "local search"
        assert searched.value <= exact.value + 1e-9
        shortfalls.append((exact.value - searched.value) / exact.value)
    assert np.median(shortfalls) < 0.01
    assert max(shortfalls) < 0.08


@pytest.mark.parametrize("num_tasks", [9, 14])
def test_planted_blocks_are_found(num_tasks):
    """Tasks of one block help each other and harm the rest."""
    block = np.random.default_rng(2).permutation(np.arange(num_tasks) % 3)
    affinity = np.where(block[:, None] == block, 1.0, -1.0)
    found = group_tasks(affinity, 3)
    assert {frozenset(g) for g in found.groups} == {frozenset(np.flatnonzero(block == b)) for b in range(3)}
    assert found.value == pytest.approx(1.0)


def test_a_task_that_is_harmed_by_all_is_alone_where_the_budget_allows():
    affinity = np.array([[0, 1, -1], [1, 0, -1], [1, 1, 0]], dtype=float)
    two = group_tasks(affinity, 2)
    assert two.groups[two.serves[2]] == (2,)
    assert two.scores[2] == 0.0
    assert group_tasks(affinity, 1).groups == ((0, 1, 2),)


def test_a_helper_is_trained_in_a_group_that_does_not_serve_it():
    """1 helps 0 and is harmed by it: it is trained with 0, and served alone."""
    affinity = np.array([[0, -1], [1, 0]], dtype=float)
    found = group_tasks(affinity, 2)
    assert sorted(found.groups) == [(0, 1), (1,)]
    assert found.scores == (1.0, 0.0)


def test_the_diagonal_is_not_read():
    affinity = np.random.default_rng(3).normal(size=(5, 5))
    other = affinity + np.diag([9.0] * 5)
    assert group_tasks(affinity, 2) == group_tasks(other, 2)
