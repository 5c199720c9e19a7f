"""Checks of balancers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from sslm_platform.scheduling import BalancingState, LearningBalancer
from sslm_platform.testing.cases import Case
from sslm_platform.types import BalancerDef

TASKS = ("mlm@reviews", "sentiment@tweets", "tagging@addresses")
NUM_STEPS = 60
PRESENT = ((0, 1, 2), (0, 1), (2,), (1, 2), (0,))  # step by step, in turn


def check_weights(case: Case[BalancerDef]) -> None:
    """Every task of a step has a weight, finite and not negative, and some weight is above 0."""
    if case.definition.gradients:
        return
    for weights, state in _trained(case):
        missing = sorted(set(state.shares) - set(weights))
        assert not missing, f"no weight for {missing}, which the step has"
        wrong = {task: w for task, w in weights.items() if not (math.isfinite(w) and w >= 0)}
        assert not wrong, f"weights must be finite and not negative: {wrong}"
        assert any(weights[task] > 0 for task in state.shares), f"step {state.step} has no weight above 0"


def check_gradients_combined(case: Case[BalancerDef]) -> None:
    """A balancer of gradients gives each task of a step a finite weight."""
    if not case.definition.gradients:
        return
    for weights, state in _trained(case):
        assert len(weights) == len(state.shares), f"{len(state.shares)} tasks got {len(weights)} weights"
        wrong = {task: w for task, w in weights.items() if not math.isfinite(w)}
        assert not wrong, f"weights must be finite: {wrong}"


def check_balancer_is_pure(case: Case[BalancerDef]) -> None:
    """A state gives the same weights whatever was asked before: ranks and resumed runs agree."""
    balancer = case.definition.build(case.parsed_options())
    seen = [(weights, state) for weights, state in _trained(case, balancer)]
    same = all(_step(case, balancer, state)[0] == weights for weights, state in reversed(seen))
    assert same, "weights depend on earlier calls or on chance"


def check_balancer_survives_a_checkpoint(case: Case[BalancerDef]) -> None:
    """Memory that went through JSON, its keys in another order, gives the same future."""
    pairs = zip(_trained(case), _trained(case, through_json=True), strict=True)
    for (kept, state), (restored, _) in pairs:
        assert kept == restored, (
            f"step {state.step}: weights change when the memory goes through a checkpoint"
        )


def check_balancer_leaves_old_memory(case: Case[BalancerDef]) -> None:
    """``observe`` returns a new memory and leaves the old one as it was."""
    balancer = case.definition.build(case.parsed_options())
    for _, state in _trained(case, balancer):
        before = json.dumps(state.memory)
        _step(case, balancer, state)
        assert json.dumps(state.memory) == before, "observe changes the memory that it was given"


def _trained(
    case: Case[BalancerDef], balancer: Any = None, *, through_json: bool = False
) -> Iterator[tuple[dict[str, float], BalancingState]]:
    """Yield the weights of each step of a made-up training, and the state that they are a function of."""
    balancer = balancer or case.definition.build(case.parsed_options())
    memory: Any = {}
    for step in range(NUM_STEPS):
        tasks = [TASKS[i] for i in PRESENT[step % len(PRESENT)]]
        shares = {task: (1 + i) / (2 * len(tasks)) for i, task in enumerate(tasks)}
        state = BalancingState(step, NUM_STEPS, 7, TASKS, shares, memory)
        if case.definition.gradients and len(tasks) == 1:
            continue  # the platform leaves the gradient of a single task as it is
        weights, after = _step(case, balancer, state)
        yield weights, state
        memory = json.loads(json.dumps(after, sort_keys=True)) if through_json else after


def _step(case: Case[BalancerDef], balancer: Any, state: BalancingState) -> tuple[dict[str, float], Any]:
    """Return the weights of a step and the memory after it."""
    seen = _seen(case, state)
    if case.definition.gradients:
        weights, memory = balancer.combine(seen, _gramian(state))
        return dict(zip(state.shares, weights, strict=False)), memory
    ahead = replace(state, losses=seen.losses) if case.definition.needs_losses else state
    weights = dict(balancer.weights(ahead))
    return weights, balancer.observe(seen) if isinstance(balancer, LearningBalancer) else state.memory


def _gramian(state: BalancingState) -> np.ndarray:
    """Return the Gramian of gradients in conflict, other ones in each step."""
    generator = np.random.default_rng(state.step)
    rows_TP = generator.normal(size=(len(state.shares), 5)) - 0.5 * np.eye(len(state.shares), 5)
    return rows_TP @ rows_TP.T


def _seen(case: Case[BalancerDef], state: BalancingState) -> BalancingState:
    """Return a state with falling, uneven losses; now and then a task has none."""
    losses = {
        task: (2.0 + TASKS.index(task)) / (1 + 0.05 * state.step * (1 + TASKS.index(task)))
        for i, task in enumerate(state.shares)
        if i or state.step % 7
    }
    after = {task: 0.98 * loss for task, loss in losses.items()} if case.definition.needs_losses_after else {}
    return replace(state, losses=losses, losses_after=after)


BALANCER_CHECKS = (
    check_weights,
    check_gradients_combined,
    check_balancer_is_pure,
    check_balancer_survives_a_checkpoint,
    check_balancer_leaves_old_memory,
)
