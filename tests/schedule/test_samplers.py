"""What holds for every sampler of the repository: passes, resuming, shares."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslm_platform.plugins import host
from sslm_platform.schedule.plan import Planner
from sslm_platform.schedule.progress import Progress
from sslm_platform.scheduling import DevScore, Observation

OPTIONS = {
    "static": {"ratios": {"f0": 3.0, "t1@*": 0.5}},
    "sequential": {
        "stages": [{"feeds": ["f0", "f1"]}, {"feeds": ["t2@*", "f3"], "share": 2}],
        "replay": 0.25,
    },
    "doremi": {"reference_losses": {"*": 0.4}},
    "exp3s": {"rate": 0.3},
}
SAMPLERS = sorted(host().registry.samplers)


def built(name):
    definition = host().registry.samplers.get(name).definition
    return definition.build(definition.options.model_validate(OPTIONS.get(name, {})))


def planner(name, sizes, *, seed, slots, steps):
    def batches(feed, epoch):
        rows = np.random.Generator(np.random.Philox(key=[epoch, sizes[feed]])).permutation(sizes[feed])
        return [rows[i : i + 3] for i in range(0, len(rows), 3)]

    tasks = {feed: (f"t{i}@d", f"u{i}@d") for i, feed in enumerate(sizes)}
    return Planner(built(name), sizes, batches, seed=seed, slots_per_step=slots, num_steps=steps, tasks=tasks)


def train(p, progress, start, stop):
    """Plan steps and show the sampler losses and scores that depend on nothing but the plan."""
    plans = []
    for step in range(start, stop):
        plan = p.plan(step, progress.positions, progress.sampler)
        plans.append(plan)
        tasks = [task for feed in plan.counts for task in p.tasks[feed]]
        losses = {t: 2.0 * math.exp(-0.05 * step * (int(t[1]) + 1)) + 0.1 * (step % 3) for t in tasks}
        progress.advance(plan)
        progress.sampler = p.observe(step, progress.sampler, Observation(plan.counts, losses))
        if step % 5 == 4:
            scores = {t: DevScore(min(1.0, 0.1 * (int(t[1]) + step % 7)), 0.2, 1.0)
                      for of_feed in p.tasks.values() for t in of_feed}  # fmt: skip
            progress.sampler = p.observe(step, progress.sampler, Observation(scores=scores))
    return plans


def draws(plans):
    return [(slot.feed, slot.epoch, slot.rows.tolist()) for plan in plans for slot in plan.slots]


schedules = {
    "sizes": st.lists(st.integers(1, 20), min_size=1, max_size=4),
    "seed": st.integers(0, 2**32),
    "slots": st.integers(1, 4),
    "steps": st.integers(1, 30),
}


@pytest.mark.parametrize("name", SAMPLERS)
@given(**schedules)
@settings(max_examples=15, deadline=None)
def test_each_example_is_seen_once_in_a_pass_and_no_feed_restarts_early(name, sizes, seed, slots, steps):
    named = {f"f{i}": n for i, n in enumerate(sizes)}
    p = planner(name, named, seed=seed, slots=slots, steps=steps)
    progress = Progress(p.start())
    seen = {feed: Counter() for feed in named}
    for feed, epoch, rows in draws(train(p, progress, 0, steps)):
        counts = [seen[feed][row] for row in range(named[feed])]
        assert set(counts) <= {epoch, epoch + 1}
        assert {seen[feed][row] for row in rows} == {epoch}
        seen[feed].update(rows)
    passes = p.passes(progress.positions)
    for feed, counts in seen.items():
        assert math.floor(passes[feed]) == min(counts[row] for row in range(named[feed]))


@pytest.mark.parametrize("name", SAMPLERS)
@given(stop=st.integers(0, 30), **schedules)
@settings(max_examples=15, deadline=None)
def test_resumed_at_any_step_the_draws_are_the_same(name, stop, sizes, seed, slots, steps):
    named = {f"f{i}": n for i, n in enumerate(sizes)}
    whole, stop = planner(name, named, seed=seed, slots=slots, steps=steps), min(stop, steps)
    at_once, killed = Progress(whole.start()), Progress(whole.start())
    plans = train(whole, at_once, 0, steps)
    first = train(planner(name, named, seed=seed, slots=slots, steps=steps), killed, 0, stop)
    restored = Progress.of(json.loads(json.dumps(killed.content(), sort_keys=True)))
    rest = train(planner(name, named, seed=seed, slots=slots, steps=steps), restored, stop, steps)
    assert draws(plans) == draws(first + rest)
    assert restored.content() == at_once.content()


@pytest.mark.parametrize("name", SAMPLERS)
def test_realised_shares_follow_the_intended_ones(name):
    p = planner(name, {"f0": 5, "f1": 20, "f2": 40, "f3": 10}, seed=3, slots=4, steps=500)
    progress = Progress(p.start())
    train(p, progress, 0, 500)
    shares = progress.shares()
    for kind in ("intended", "realised"):
        assert sum(share[kind] for share in shares.values()) == pytest.approx(1.0)
    for share in shares.values():
        # 2,000 independent draws: four standard deviations are at most 0.045
        assert share["realised"] == pytest.approx(share["intended"], abs=0.045)
