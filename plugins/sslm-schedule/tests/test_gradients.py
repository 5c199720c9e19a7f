"""Balancers of gradients on Jacobians whose answers are known."""

import math

import numpy as np
import pytest

pytest.importorskip("torchjd")

from sslm_schedule import sslm_balancers
from sslm_schedule.balancers.gradients import (
    GradVac,
    GradVacOptions,
    NashMTL,
    NashMTLOptions,
    Weighted,
    aligned_mtl,
    cagrad,
    check_installed,
    imtl_g,
    mgda,
    pcgrad,
    upgrad,
)
from sslm_schedule.balancers.gradnorm import GradNorm, GradNormOptions

from sslm_platform.api import BalancingState

TWO = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
THREE = np.array([[2.0, 0.3, -1.0, 0.2], [-1.5, 1.0, 0.4, 0.1], [0.2, -2.0, 1.5, 3.0]])


def state(num_tasks, step=0, memory=None, losses=None, seed=1):
    tasks = tuple("abcdef"[:num_tasks])
    losses = losses or dict.fromkeys(tasks, 1.0)
    return BalancingState(step, 100, seed, tasks, dict.fromkeys(tasks, 1 / num_tasks), memory or {}, losses)


def direction(balancer, jacobian, **more):
    weights, _ = balancer.combine(state(len(jacobian), **more), jacobian @ jacobian.T)
    return np.asarray(weights) @ jacobian


@pytest.mark.parametrize(
    ("balancer", "expected"),
    [
        (Weighted(pcgrad), [0.5848, 3.8012, 3.8012]),
        (Weighted(lambda: cagrad(0.5)), [0.1835, 1.2041, 1.2041]),
        (Weighted(lambda: cagrad(0.0)), [1.0, 1.0, 1.0]),
        (Weighted(mgda), [0.0, 1.0, 1.0]),
        (Weighted(imtl_g), [0.0767, 1.0, 1.0]),
        (Weighted(aligned_mtl), [0.2133, 0.9673, 0.9673]),
        (NashMTL(NashMTLOptions()), [0.0542, 0.7061, 0.7061]),
        # two gradients, running cosines of 0: the same projections as PCGrad
        (GradVac(GradVacOptions()), [0.5848, 3.8012, 3.8012]),
    ],
)
def test_two_tasks(balancer, expected):
    assert direction(balancer, TWO) == pytest.approx(expected, abs=5e-4)


def test_nash_is_the_bargaining_solution():
    weights, memory = NashMTL(NashMTLOptions(max_norm=0.0)).combine(state(2), TWO @ TWO.T)
    assert [memory["a"], memory["b"]] == pytest.approx([0.5915, 0.4071], abs=5e-4)
    assert weights == pytest.approx([memory["a"], memory["b"]])
    assert TWO @ TWO.T @ weights * weights == pytest.approx([1.0, 1.0], abs=1e-3)


def test_upgrad_conflicts_with_no_task():
    """The mean of the gradients' projections onto {x: J x >= 0}, found by trying all active constraints."""
    weights, _ = Weighted(upgrad).combine(state(3), THREE @ THREE.T)
    expected = np.mean([project(row, THREE) for row in THREE], axis=0)
    assert np.asarray(weights) @ THREE == pytest.approx(expected, abs=1e-2)
    assert (THREE @ (np.asarray(weights) @ THREE) > -1e-2).all()


def project(vector, jacobian):
    """Return the nearest x with J x >= 0: the best feasible point over all sets of active constraints."""
    best = None
    for active in range(2 ** len(jacobian)):
        rows = jacobian[[bool(active >> i & 1) for i in range(len(jacobian))]]
        x = vector - (np.linalg.pinv(rows) @ (rows @ vector) if len(rows) else 0.0)
        distance = np.linalg.norm(x - vector)
        if (jacobian @ x >= -1e-9).all() and (best is None or distance < best[0]):
            best = (distance, x)
    return best[1]


def pcgrad_by_hand(jacobian, orders):
    total = np.zeros(jacobian.shape[1])
    for i, order in enumerate(orders):
        g = jacobian[i].copy()
        for j in order:
            if g @ jacobian[j] < 0:
                g -= g @ jacobian[j] / (jacobian[j] @ jacobian[j]) * jacobian[j]
        total += g
    return total


def test_pcgrad_projects_in_one_of_the_possible_orders_and_chance_is_keyed():
    from itertools import permutations, product

    others = [list(permutations([j for j in range(3) if j != i])) for i in range(3)]
    possible = [pcgrad_by_hand(THREE, orders) for orders in product(*others)]
    found = [direction(Weighted(pcgrad), THREE, step=step) for step in range(12)]
    assert all(any(np.allclose(one, p) for p in possible) for one in found)
    assert len({tuple(one.round(6)) for one in found}) > 1
    assert np.array_equal(found[3], direction(Weighted(pcgrad), THREE, step=3))


def test_gradvac_keeps_running_cosines():
    balancer = GradVac(GradVacOptions(beta=0.5))
    _, memory = balancer.combine(state(2), TWO @ TWO.T)
    cosine = TWO[0] @ TWO[1] / np.linalg.norm(TWO[0]) / np.linalg.norm(TWO[1])
    assert memory["a"]["b"] == pytest.approx(0.5 * cosine, abs=1e-6)
    aligned = np.array([[1.0, 1.0, 0.0], [1.0, 0.9, 0.1]])
    _, memory = balancer.combine(state(2), aligned @ aligned.T)
    target = memory["a"]["b"]
    assert target > 0.4
    # the next gradients are at a smaller angle's cosine than the target: they are brought up to it
    nearly = np.array([[1.0, 0.0, 0.0], [0.1, 1.0, 0.0]])
    weights, _ = balancer.combine(state(2, memory={**memory, "c": {"a": 0.3}}), nearly @ nearly.T)
    assert sum(weights) > 2.2
    plain, _ = balancer.combine(state(2), nearly @ nearly.T)
    assert plain == pytest.approx([1.0, 1.0])  # no conflict, and no target yet


def test_gradvac_of_an_absent_task_stays():
    memory = {"a": {"b": 0.1, "c": 0.2}, "c": {"a": -0.3}}
    _, after = GradVac(GradVacOptions()).combine(state(2, memory=memory), TWO @ TWO.T)
    assert after["a"]["c"] == 0.2
    assert after["c"] == {"a": -0.3}
    assert after["a"]["b"] != 0.1


def test_gradnorm():
    """One step against the paper's loss, differentiated numerically, and the sum of the weights."""
    losses, first = {"a": 1.0, "b": 3.0, "c": 2.0}, {"a": 2.0, "b": 3.0, "c": 8.0}
    kept = {t: {"value": v, "mean": 0.0, "square": 0.0, "updates": 0, "first": first[t]}
            for t, v in (("a", 1.2), ("b", 0.8), ("c", 1.0))}  # fmt: skip
    balancer = GradNorm(GradNormOptions(alpha=1.5, lr=0.01))
    rows = THREE / 3  # shares are 1/3: the gradients of the losses themselves are THREE
    weights, after = balancer.combine(state(3, memory=kept, losses=losses), rows @ rows.T)
    assert weights == [1.2, 0.8, 1.0]
    norms = np.linalg.norm(THREE, axis=1)
    rates = np.array([0.5, 1.0, 0.25]) / np.mean([0.5, 1.0, 0.25])
    target = np.mean(np.array(weights) * norms) * rates**1.5
    signs = np.sign(np.array(weights) * norms - target)
    moved = np.array(weights) - 0.01 * signs  # Adam's first step has the size of its rate
    expected = moved * 3.0 / moved.sum()
    assert [after[t]["value"] for t in "abc"] == pytest.approx(expected, abs=1e-6)
    assert {t: after[t]["first"] for t in "abc"} == first


def test_gradnorm_evens_out_lengths():
    balancer, memory = GradNorm(GradNormOptions(alpha=0.0, lr=0.01)), {}
    jacobian = np.diag([1.0, 4.0, 2.0])
    for step in range(600):
        weights, memory = balancer.combine(state(3, step=step, memory=memory), jacobian @ jacobian.T)
    assert sum(weights) == pytest.approx(3.0)
    lengths = np.array(weights) * [1.0, 4.0, 2.0]
    assert lengths / lengths.mean() == pytest.approx(1.0, abs=0.1)


METHODS = {
    "pcgrad": Weighted(pcgrad),
    "mgda": Weighted(mgda),
    "cagrad": Weighted(lambda: cagrad(0.5)),
    "imtl_g": Weighted(imtl_g),
    "aligned_mtl": Weighted(aligned_mtl),
    "upgrad": Weighted(upgrad),
    "nash_mtl": NashMTL(NashMTLOptions()),
    "gradvac": GradVac(GradVacOptions()),
    "gradnorm": GradNorm(GradNormOptions()),
}


def test_no_two_methods_give_one_direction():
    """Three tasks, the third step of one history; nor is any the plain sum's."""
    assert METHODS.keys() == {one.name for one in sslm_balancers() if one.gradients}
    found = {}
    for name, balancer in METHODS.items():
        memory = {}
        for step in range(3):
            jacobian = THREE + 0.3 * np.sin(np.arange(12) * (step + 1)).reshape(3, 4)
            losses = {"a": 1.0 - 0.2 * step, "b": 2.0, "c": 4.0}
            weights, memory = balancer.combine(
                state(3, step=step, memory=memory, losses=losses), jacobian @ jacobian.T
            )
        sum_ = np.asarray(weights) @ jacobian
        found[name] = sum_ / np.linalg.norm(sum_)
    found["equal"] = jacobian.sum(axis=0) / np.linalg.norm(jacobian.sum(axis=0))
    names = list(found)
    for i, one in enumerate(names):
        for other in names[:i]:
            assert math.acos(min(1.0, found[one] @ found[other])) > 0.01, (one, other)


@pytest.mark.parametrize("name", METHODS)
def test_two_tasks_that_want_the_same_get_it(name):
    """Parallel gradients, a Gramian without full rank: the common direction, with finite weights."""
    parallel = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]])
    found = direction(METHODS[name], parallel)
    assert found / np.linalg.norm(found) == pytest.approx(np.array([1.0, 2.0, 0.0]) / math.sqrt(5), abs=1e-6)


def test_what_is_not_installed_is_said():
    (problem,) = check_installed("no_such_solver")(None, {})
    assert str(problem) == "needs no_such_solver: pip install 'sslm-schedule[torchjd]'"
    assert not list(check_installed()(None, {}))


@pytest.mark.parametrize("name", METHODS)
def test_what_is_known_of_an_absent_task_stays(name):
    """And the others are weighed as if it did not exist."""
    balancer = METHODS[name]
    losses = {"a": 1.0, "b": 2.0, "c": 4.0}
    _, memory = balancer.combine(state(3, losses=losses), THREE @ THREE.T)
    gramian_TT = THREE[:2] @ THREE[:2].T
    weights, after = balancer.combine(state(2, memory=memory, losses=losses), gramian_TT)
    assert after.get("c") == memory.get("c")
    without = {task: _without_c(kept) for task, kept in memory.items() if task != "c"}
    assert balancer.combine(state(2, memory=without, losses=losses), gramian_TT)[0] == pytest.approx(weights)
    if memory:
        assert after["a"] != memory["a"]


def _without_c(kept):
    return {k: v for k, v in kept.items() if k != "c"} if isinstance(kept, dict) else kept
