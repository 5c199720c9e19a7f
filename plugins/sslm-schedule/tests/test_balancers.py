import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sslm_schedule import sslm_balancers
from sslm_schedule.balancers.dwa import DWA, DWAOptions
from sslm_schedule.balancers.famo import FAMO, FAMOOptions
from sslm_schedule.balancers.fixed import Equal, Static, StaticOptions, check_weights
from sslm_schedule.balancers.geometric import Geometric
from sslm_schedule.balancers.random_weights import RandomWeights
from sslm_schedule.balancers.uncertainty import Uncertainty, UncertaintyOptions
from sslm_schedule.scalar_adam import START, adam_update

from sslm_platform.api import BalancingState

TASKS = ("mlm@movies", "sentiment@movies", "sentiment@tweets")


def state(losses=None, *, shares=None, tasks=("a", "b"), memory=None, step=0, after=None):
    tasks = tuple(shares) if shares else tasks
    shares = shares or dict.fromkeys(tasks, 1 / len(tasks))
    return BalancingState(step, 1000, 7, tasks, shares, memory or {}, losses or {}, after or {})


def test_static_later_patterns_override_earlier_ones():
    options = StaticOptions(weights={"*@movies": 2.0, "sentiment@movies": 3.0})
    expected = {"sentiment@tweets": 1.0, "sentiment@movies": 3.0, "mlm@movies": 2.0}
    assert Static(options).weights(state(tasks=TASKS)) == expected
    assert Static(options).weights(state(shares={"mlm@movies": 1.0})) == {"mlm@movies": 2.0}


def test_pattern_that_matches_no_task_is_found_with_a_suggestion():
    options = StaticOptions(weights={"sentiment@movie": 2.0, "movies": 1.0})
    problems = [
        str(problem) for problem in check_weights(options, {"movies": TASKS[:2], "tweets": TASKS[2:]})
    ]
    assert problems[0] == "weights: 'sentiment@movie' matches nothing; did you mean sentiment@movies?"
    assert "'movies'" in problems[1]  # a feed has no weight


def test_weights_must_be_positive():
    with pytest.raises(ValidationError, match="greater than 0"):
        StaticOptions(weights={"*": 0.0})


def test_equal():
    assert Equal().weights(state(shares={"a": 0.9, "b": 0.1})) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_scalar_adam_is_torchs(decay):
    theirs = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theirs], lr=0.03, weight_decay=decay)
    ours = START
    for gradient in np.random.default_rng(3).normal(size=50).tolist():
        theirs.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        ours = adam_update(ours, gradient + decay * ours["value"], 0.03)
        assert ours["value"] == pytest.approx(theirs.item(), rel=1e-9)


def test_uncertainty_weighting():
    losses = {"a": 1.0, "b": 2.0, "c": 4.0}
    balancer = Uncertainty(UncertaintyOptions(lr=0.02))
    now = state(losses, tasks=tuple(losses))
    weights = balancer.weights(now)
    assert sum(weights[task] * losses[task] for task in losses) == pytest.approx(3.5)  # ½ s is 0
    for step in range(2000):
        now = replace(now, step=step, memory=balancer.observe(now))
    for task, loss in losses.items():
        assert now.memory[task]["value"] == pytest.approx(math.log(loss), abs=2e-3)
        assert balancer.weights(now)[task] * loss == pytest.approx(0.5, abs=2e-3)


def test_uncertainty_of_an_absent_task_stays():
    balancer = Uncertainty(UncertaintyOptions())
    memory = balancer.observe(state({"a": 3.0, "b": 3.0}))
    later = balancer.observe(state({"a": 3.0}, memory=memory))
    assert later["b"] == memory["b"]
    assert later["a"] != memory["a"]


def dwa_after(windows, *, window=2, tasks=("a", "b")):
    """Return the weights after windows of losses; a window is a list of steps."""
    balancer, memory = DWA(DWAOptions(window=window)), {}
    steps = [losses for of_window in windows for losses in of_window]
    for step, losses in enumerate(steps):
        memory = balancer.observe(state(losses, step=step, memory=memory))
    return balancer.weights(state(step=len(steps), memory=memory, tasks=tasks))


def test_dwa():
    # a stays (r = 1), b's mean grows fourfold (r = 4)
    windows = [[{"a": 1.0, "b": 1.0}, {"a": 3.0, "b": 3.0}], [{"a": 2.0, "b": 8.0}, {"a": 2.0, "b": 8.0}]]
    assert dwa_after(windows) == {
        "a": pytest.approx(0.36485, abs=5e-6),
        "b": pytest.approx(1.63515, abs=5e-6),
    }
    assert dwa_after(windows[:1]) == {"a": 1.0, "b": 1.0}
    assert dwa_after([*windows, [{"a": 9.0, "b": 9.0}]]) == dwa_after(windows), "a window is not over"


def test_dwa_ends_a_window_whose_last_step_was_skipped():
    balancer, memories = DWA(DWAOptions(window=2)), {}
    for name, steps in (("whole", (0, 1, 2, 3, 4)), ("skipped", (0, 2, 3, 4))):
        memory = {}
        for step in steps:
            memory = balancer.observe(state({"a": 1.0 + step // 2}, tasks=("a",), step=step, memory=memory))
        memories[name] = memory["a"]["means"]
    assert memories["whole"] == memories["skipped"] == [1.0, 2.0]


def test_dwa_with_tasks_that_are_absent():
    windows = [[{"a": 2.0, "b": 1.0}, {"b": 3.0}], [{"a": 2.0}, {"b": 8.0}], [{"a": 2.0}, {}]]
    # the third window has no b: its two means are kept
    assert dwa_after(windows) == {
        "a": pytest.approx(0.36485, abs=5e-6),
        "b": pytest.approx(1.63515, abs=5e-6),
    }
    with_c = dwa_after(windows, tasks=("a", "b", "c"))
    assert sum(with_c.values()) == pytest.approx(3.0)
    assert with_c["c"] == with_c["a"]  # never seen counts as steady, and a is


def test_random_weights_are_one_on_average_and_keyed_by_step():
    draws = [RandomWeights().weights(state(step=step, tasks=TASKS)) for step in range(3000)]
    table = np.array([[draw[task] for task in TASKS] for draw in draws])
    assert table.sum(axis=1) == pytest.approx(3.0)
    assert table.mean(axis=0) == pytest.approx(1.0, abs=0.05)
    assert np.log(table[:, 0] / table[:, 1]).std() == pytest.approx(
        math.sqrt(2), abs=0.05
    )  # logits are N(0, 1)
    one = RandomWeights().weights(replace(state(step=5, tasks=TASKS), shares={TASKS[1]: 1.0}))
    assert one == {TASKS[1]: draws[5][TASKS[1]]}
    assert RandomWeights().weights(replace(state(step=5, tasks=TASKS), seed=8)) != draws[5]


def gradient_of(loss_of, values):
    losses = torch.tensor(list(values), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss_of(losses), losses)
    return gradient.tolist()


def test_geometric_has_the_gradient_of_the_geometric_mean():
    losses = {"a": 1.0, "b": 2.0, "c": 5.0}
    now = state(losses, tasks=tuple(losses))
    weights = Geometric().weights(now)
    expected = gradient_of(lambda L: L.prod() ** (1 / 3), losses.values())
    assert [now.shares[task] * weights[task] for task in losses] == pytest.approx(expected)


def test_geometric_with_uneven_shares_is_the_weighted_mean():
    losses, shares = {"a": 1.5, "b": 3.0}, {"a": 0.75, "b": 0.25}
    weights = Geometric().weights(state(losses, shares=shares))
    expected = gradient_of(lambda L: L[0] ** 0.75 * L[1] ** 0.25, losses.values())
    assert [shares[task] * weights[task] for task in losses] == pytest.approx(expected)
    together = Geometric().weights(state(losses, shares={"a": 1.0, "b": 1.0}))  # two tasks of one feed
    expected = gradient_of(lambda L: 2 * (L[0] * L[1]) ** 0.5, losses.values())
    assert list(together.values()) == pytest.approx(expected)


def test_famo():
    losses = {"a": 1.0, "b": 2.0}
    now = state(losses)
    weights = FAMO(FAMOOptions()).weights(now)
    # the oracle: (z · log l) / sum(z / l) at z = (½, ½), with the denominator held
    held = sum(0.5 / loss for loss in losses.values())
    assert sum(0.5 * math.log(loss) for loss in losses.values()) / held == pytest.approx(0.46210, abs=5e-6)
    expected = gradient_of(lambda L: (0.5 * L.log()).sum() / held, losses.values())
    assert [now.shares[task] * weights[task] for task in losses] == pytest.approx(expected)
    assert expected == pytest.approx([2 / 3, 1 / 3])


class TheirFAMO:
    """The update of the authors' code, with torch's softmax, autograd and Adam."""

    def __init__(self, num_tasks, lr, decay):
        self.w = torch.zeros(num_tasks, dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.w], lr=lr, weight_decay=decay)

    def weights(self, losses):
        z = self.w.softmax(-1)
        return (z / losses / (z / losses).sum()).detach()

    def update(self, before, after):
        delta = (before + 1e-8).log() - (after + 1e-8).log()
        (self.w.grad,) = torch.autograd.grad(self.w.softmax(-1), self.w, grad_outputs=delta)
        self.optimizer.step()


def test_famo_learns_as_the_authors_code_does():
    generator = np.random.default_rng(1)
    ours, theirs = FAMO(FAMOOptions(lr=0.05, decay=0.01)), TheirFAMO(3, 0.05, 0.01)
    tasks, memory = ("a", "b", "c"), {}
    for step in range(40):
        before = generator.uniform(0.5, 4.0, 3)
        after = before * [0.99, 0.9, 1.02]
        now = state(dict(zip(tasks, before.tolist(), strict=True)), tasks=tasks, step=step, memory=memory,
                    after=dict(zip(tasks, after.tolist(), strict=True)))  # fmt: skip
        weights = ours.weights(now)
        expected = theirs.weights(torch.tensor(before)).tolist()
        assert [weights[task] / 3 for task in tasks] == pytest.approx(expected, rel=1e-6)
        memory = ours.observe(now)
        theirs.update(torch.tensor(before), torch.tensor(after))
    assert [memory[task]["value"] for task in tasks] == pytest.approx(theirs.w.tolist(), rel=1e-6)
    assert memory["c"]["value"] > memory["a"]["value"] > memory["b"]["value"]


def test_famo_takes_a_loss_below_zero_as_zero():
    losses = {"a": -0.5, "b": 2.0}
    weights = FAMO(FAMOOptions()).weights(state(losses))
    assert min(weights.values()) >= 0.0
    memory = FAMO(FAMOOptions()).observe(state(losses, after={"a": -0.7, "b": 1.5}))
    assert memory.keys() == losses.keys()


def test_famo_of_one_task_is_equal_and_absent_tasks_stay():
    balancer = FAMO(FAMOOptions())
    memory = balancer.observe(state({"a": 1.0, "b": 2.0}, after={"a": 0.5, "b": 2.0}))
    alone = state({"b": 3.0}, shares={"b": 1.0}, memory=memory, after={"b": 1.0})
    assert balancer.weights(alone) == {"b": pytest.approx(1.0)}
    later = balancer.observe(
        state({"b": 3.0, "c": 3.0}, tasks=("b", "c"), memory=memory, after={"b": 1.0, "c": 3.0})
    )
    assert later["a"] == memory["a"]
    assert later["b"] != memory["b"]


def test_all_differ_where_they_must():
    """Three tasks, the same history: no two methods weigh them alike."""
    losses = {"a": 1.0, "b": 2.0, "c": 4.0}
    found = {}
    methods = {
        "equal": Equal(),
        "static": Static(StaticOptions(weights={"b": 3.0})),
        "uncertainty": Uncertainty(UncertaintyOptions(lr=0.2)),
        "dwa": DWA(DWAOptions(window=1)),
        "random": RandomWeights(),
        "geometric": Geometric(),
        "famo": FAMO(FAMOOptions()),
    }
    assert methods.keys() == {one.name for one in sslm_balancers() if not one.gradients}
    for name, balancer in methods.items():
        memory = {}
        for step in range(4):
            seen = {task: value * (1 - 0.1 * step * i) for i, (task, value) in enumerate(losses.items())}
            after = {task: 0.9**i * value for i, (task, value) in enumerate(seen.items())}
            now = state(seen, tasks=tuple(seen), step=step, memory=memory, after=after)
            weights = np.array(list(balancer.weights(now).values()))
            memory = balancer.observe(now) if hasattr(balancer, "observe") else {}
        found[name] = weights / weights.sum()
    names = list(found)
    for i, one in enumerate(names):
        for other in names[:i]:
            assert np.abs(found[one] - found[other]).max() > 0.01, (one, other)
