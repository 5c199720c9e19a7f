"""Checks of samplers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from sslm_platform.scheduling import DevScore, LearningSampler, Observation, SamplingState, StagedSampler
from sslm_platform.testing.cases import Case
from sslm_platform.types import SamplerDef

FEED_TASKS = {
    "tweets": ("sentiment@tweets", "topic@tweets"),
    "addresses": ("tagging@addresses",),
    "reviews": ("mlm@reviews",),
}
STATES = (
    SamplingState(0, 10, tuple(FEED_TASKS), (100, 1_000, 10_000), FEED_TASKS),
    SamplingState(9, 10, tuple(FEED_TASKS), (1, 1, 10_000_000), FEED_TASKS, slot=1, slots_per_step=2),
    SamplingState(5, 10, ("addresses",), (7,), {"addresses": FEED_TASKS["addresses"]}),
)
NUM_OBSERVED = 40


def check_probabilities(case: Case[SamplerDef]) -> None:
    """Probabilities are one for each feed, not negative, and sum to 1, before and after training was seen."""
    sampler = case.definition.build(case.parsed_options())
    for state in STATES:
        _assert_probabilities(sampler, state)
        for later in _observed(sampler, state):
            _assert_probabilities(sampler, later)


def check_sampler_is_pure(case: Case[SamplerDef]) -> None:
    """A state gives the same probabilities whatever was asked before: ranks and resumed runs agree."""
    sampler = case.definition.build(case.parsed_options())
    first = [np.array(sampler.probabilities(state)) for state in STATES]
    for state in STATES:
        list(_observed(sampler, state))
    again = [np.array(sampler.probabilities(state)) for state in reversed(STATES)][::-1]
    same = all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert same, "probabilities depend on earlier calls or on chance"


def check_memory_survives_a_checkpoint(case: Case[SamplerDef]) -> None:
    """Memory that went through JSON, its keys in another order, gives the same future."""
    sampler = case.definition.build(case.parsed_options())
    saved = case.definition.build(case.parsed_options())
    for state in STATES:
        pairs = zip(_observed(sampler, state), _observed(saved, state, through_json=True), strict=True)
        for kept, restored in pairs:
            same = np.array_equal(sampler.probabilities(kept), saved.probabilities(restored))
            assert same, "probabilities change when the memory goes through a checkpoint"


def check_stages(case: Case[SamplerDef]) -> None:
    """One that is ``staged`` says when its stages end: in order, the last with the training."""
    sampler = case.definition.build(case.parsed_options())
    is_staged = isinstance(sampler, StagedSampler)
    assert is_staged == case.definition.staged, "the definition's `staged` is not what the sampler is"
    if not isinstance(sampler, StagedSampler):
        return
    for state in STATES:
        stages = sampler.stages(state)
        ends = [end for end, _ in stages]
        assert not ends or (ends == sorted(ends) and ends[-1] == state.num_steps), f"stages end after {ends}"
        assert all(set(feeds) <= set(state.feeds) for _, feeds in stages), "a stage has an unknown feed"


def check_observing_changes_nothing_else(case: Case[SamplerDef]) -> None:
    """``observe`` returns a new memory and leaves the old one as it was."""
    sampler = case.definition.build(case.parsed_options())
    if not isinstance(sampler, LearningSampler):
        return
    memory: Any = {}
    for step, seen in enumerate(_observations(STATES[0])):
        before = json.dumps(memory)
        after = sampler.observe(replace(STATES[0], step=step, memory=memory), seen)
        assert json.dumps(memory) == before, "observe changes the memory that it was given"
        memory = after


def _assert_probabilities(sampler: Any, state: SamplingState) -> None:
    p_F = np.asarray(sampler.probabilities(state))
    assert p_F.shape == (len(state.feeds),), f"{len(state.feeds)} feeds got {p_F.shape} probabilities"
    assert (p_F >= 0).all(), f"not all are probabilities: {p_F}"
    assert math.isclose(p_F.sum(), 1.0, abs_tol=1e-9), f"probabilities sum to {p_F.sum()}"


def _observed(sampler: Any, state: SamplingState, *, through_json: bool = False) -> Iterator[SamplingState]:
    """Yield the states after each observation; none for a sampler that does not learn."""
    if not isinstance(sampler, LearningSampler):
        return
    memory = state.memory
    for seen in _observations(state):
        memory = sampler.observe(replace(state, memory=memory), seen)
        if through_json:
            memory = json.loads(json.dumps(memory, sort_keys=True))
        yield replace(state, memory=memory)


def _observations(state: SamplingState) -> Iterator[Observation]:
    """Yield falling, uneven losses, some of them missing or not numbers, and now and then scores."""
    for step in range(NUM_OBSERVED):
        drawn = {feed: 1 + i for i, feed in enumerate(state.feeds) if (step + i) % 3 or len(state.feeds) == 1}
        tasks = [task for feed in drawn for task in state.tasks[feed]]
        losses = {task: (2 + i) / (1 + 0.1 * step * (i + 1)) for i, task in enumerate(tasks)}
        if step == NUM_OBSERVED // 2:
            losses[tasks[0]] = math.nan
        yield Observation(
            slots=drawn, losses={t: v for i, (t, v) in enumerate(losses.items()) if step % 5 or i}
        )
        if step % 10 == 9:
            every = [task for feed in state.feeds for task in state.tasks[feed]]
            score = (math.nan, 0.3, 0.5, 1.0)
            yield Observation(scores={t: DevScore(score[i % 4], 0.3, 1.0) for i, t in enumerate(every)})


SAMPLER_CHECKS = (
    check_probabilities,
    check_sampler_is_pure,
    check_memory_survives_a_checkpoint,
    check_stages,
    check_observing_changes_nothing_else,
)
