from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslm_platform.errors import PluginError
from sslm_platform.schedule.plan import (
    Planner,
    Position,
    loss_factors,
    rank_rows,
    steps_of_epochs,
    task_shares,
)


class Shares:
    def __init__(self, *shares):
        self.shares = np.array(shares)

    def probabilities(self, state):
        assert len(state.feeds) == len(state.sizes)
        return self.shares


def batches_of(sizes, batch=3):
    def batches(feed, epoch):
        rows = np.random.Generator(np.random.Philox(key=[epoch, sizes[feed]])).permutation(sizes[feed])
        return [rows[i : i + batch] for i in range(0, len(rows), batch)]

    return batches


def planner(sizes, shares, seed=0, slots=2, steps=100):
    return Planner(
        Shares(*shares), sizes, batches_of(sizes), seed=seed, slots_per_step=slots, num_steps=steps
    )


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.integers(0, 2**63),
    st.integers(1, 4),
    st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_each_example_is_seen_once_in_a_pass_and_no_feed_restarts_early(sizes, seed, slots, steps):
    named = {f"f{i}": n for i, n in enumerate(sizes)}
    p = planner(named, [1.0] * len(sizes), seed=seed % 2**32, slots=slots, steps=steps)
    seen: dict[str, Counter] = {name: Counter() for name in named}
    positions = p.start()
    for step in range(steps):
        plan = p.plan(step, positions)
        assert len(plan.slots) == slots
        for slot in plan.slots:
            # an epoch starts only when every example of the one before was seen
            assert set(seen[slot.feed].values()) <= {slot.epoch, slot.epoch + 1} or not slot.epoch
            seen[slot.feed].update(slot.rows.tolist())
        positions = plan.positions
    for name, counts in seen.items():
        if counts:
            assert max(counts.values()) - min(counts.get(i, 0) for i in range(named[name])) <= 1


def test_a_plan_is_a_pure_function_of_step_and_positions():
    sizes = {"a": 10, "b": 7}
    p, q = planner(sizes, [0.5, 0.5], seed=4), planner(sizes, [0.5, 0.5], seed=4)
    positions = p.start()
    for step in range(8):
        plan = p.plan(step, positions)
        positions = plan.positions
    again = q.plan(7, p.plan(6, _positions_after(p, 6)).positions)
    assert [s.feed for s in again.slots] == [s.feed for s in plan.slots]
    assert all(np.array_equal(x.rows, y.rows) for x, y in zip(again.slots, plan.slots, strict=True))


def _positions_after(p, steps):
    positions = p.start()
    for step in range(steps):
        positions = p.plan(step, positions).positions
    return positions


def test_realised_shares_follow_the_sampler():
    sizes = {"a": 9, "b": 9}
    p = planner(sizes, [0.8, 0.2], seed=11, slots=4)
    counts = Counter(s.feed for step in range(500) for s in p.plan(step, p.start()).slots)
    assert counts["a"] / 2000 == pytest.approx(0.8, abs=0.03)
    assert p.plan(0, p.start()).probabilities == {"a": pytest.approx(0.8), "b": pytest.approx(0.2)}


def test_another_seed_draws_other_feeds():
    sizes = {"a": 9, "b": 9}
    draws = [
        [planner(sizes, [0.5, 0.5], seed=seed).plan(step, {"a": Position(), "b": Position()}).counts
         for step in range(12)]
        for seed in (1, 2)
    ]  # fmt: skip
    assert draws[0] != draws[1]


@pytest.mark.parametrize(
    "probabilities", [[1.0], [0.5, 0.2, 0.3], [0.0, 0.0], [1.5, -0.5], [np.nan, 1.0], [np.inf, 1.0]]
)
def test_probabilities_that_are_none_are_the_plugins_fault(probabilities):
    p = planner({"a": 9, "b": 9}, probabilities)
    with pytest.raises(PluginError, match=r"sampler \w+: step 1: no probabilities of 2 feeds: \["):
        p.plan(0, p.start())


@given(st.integers(1, 50), st.integers(1, 8))
def test_ranks_split_a_slot(num_rows, world):
    rows = np.arange(num_rows)
    parts = [rank_rows(rows, rank, world) for rank in range(world)]
    assert sorted(np.concatenate(parts).tolist()) == rows.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_steps_of_epochs():
    assert steps_of_epochs(2, [10, 5], 1) == 30
    assert steps_of_epochs(1, [10, 5], 4) == 4
    assert steps_of_epochs(0.01, [3], 1) == 1


def test_loss_factors_are_the_formula():
    factors = loss_factors(
        task_shares([["a", "b"], ["a", "b"], ["a"], ["c"]]),
        {"a": 2.0, "b": 1.0, "c": 1.0, "d": 1.0},
        {"a": 6.0, "b": 4.0, "c": 0.0},
    )
    assert factors == {
        "a": pytest.approx(3 / 4 * 2 / 6),
        "b": pytest.approx(2 / 4 / 4),
        "c": 0.0,
    }
