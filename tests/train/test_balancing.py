"""Balancers in real steps: what they are shown, what comes of it, and what a resumed run knows."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from sslm_platform.engine.local import LocalEngine
from sslm_platform.engine.task_gradients import TaskGradients
from sslm_platform.plugins import host
from sslm_platform.schedule.progress import Progress
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.balancing import Balancing
from sslm_platform.train.loop import plan_training, train_step, train_steps
from sslm_platform.train.model import build_model

BALANCERS = {
    "equal": {},
    "static": {"weights": {"rating@film": 0.25, "mlm@*": 2.0}},
    "uncertainty": {"lr": 0.1},
    "dwa": {"window": 2},
    "random": {},
    "geometric": {},
    "famo": {"lr": 0.2},
    "gradnorm": {"lr": 0.1},
}
if importlib.util.find_spec("torchjd"):
    BALANCERS |= {"pcgrad": {}, "mgda": {}, "imtl_g": {}, "aligned_mtl": {}, "upgrad": {}}
    BALANCERS |= {"gradvac": {}, "nash_mtl": {}, "cagrad": {"c": 0.4}}
    assert BALANCERS.keys() == set(host().registry.balancers)


class Watched(LocalEngine):
    """Keeps the gradients that ``step`` was called with."""

    def step(self, active_heads, learning_rate):
        self.gradients = {
            n: p.grad.clone() for n, p in self._encoder.parameters.items() if p.grad is not None
        }
        return super().step(active_heads, learning_rate)


@pytest.fixture
def start(specs, encoder_folder):
    """Return a function that starts a training (dropout is on) with a balancer."""

    def start(name, *, log_gradients_every=None, scope="last_layer", freeze=(), **options):
        content = specs.content(
            "films",
            "names",
            schedule={"tokens_per_batch": 120, "slots_per_step": 3, "max_steps": 6,
                      "sampler": {"name": "uniform"}},
            balancer={"name": name, "options": options, "scope": scope,
                      "log_gradients_every": log_gradients_every},
        )  # fmt: skip
        if freeze:
            content["encoder"] = {**encoder_folder, "freeze": list(freeze), "max_unknown": 1.0}
        corpus = specs.corpus(content)
        spec = corpus.run.spec
        model = build_model(corpus, list(corpus.run.tasks.values()), 1)
        training = plan_training(corpus, model, spec.schedule, spec.optimizer, 1, "test")
        engine = Watched(
            EngineSpec(),
            spec.optimizer,
            model.encoder,
            model.heads,
            torch.device("cpu"),
            corpus.run.gradients_of,
        )
        return training, engine

    return start


def listen(monkeypatch):
    """Record the states that balancers see."""
    seen = {"weights": [], "observe": []}
    for method, states in seen.items():
        real = getattr(Balancing, method)

        def wrapped(self, state, real=real, states=states):
            states.append(state)
            return real(self, state)

        monkeypatch.setattr(Balancing, method, wrapped)
    return seen


@pytest.mark.parametrize("name", ["geometric", "famo"])
def test_the_losses_that_weights_depend_on_are_the_steps_own(start, monkeypatch, name):
    """To the bit, with dropout: the forward pass ahead drops out the same units."""
    training, engine = start(name)
    seen = listen(monkeypatch)
    records = list(train_steps(training, engine, training.start()))
    assert len(seen["weights"]) == len(records) == 6
    for before, after, record in zip(seen["weights"], seen["observe"], records, strict=True):
        assert before.losses == after.losses == record.losses
        assert bool(after.losses_after) == (name == "famo")
        if name == "famo" and record.learning_rate > 0:
            assert after.losses_after.keys() == record.losses.keys()
            assert after.losses_after != record.losses


@pytest.mark.parametrize("name", ["geometric", "famo"])
def test_a_look_ahead_leaves_no_trace(start, name):
    """With the weights that such a balancer gave, a static one takes the very same step."""
    training, engine = start(name)
    plan = training.planner.plan(0, training.planner.start())
    record = train_step(training, engine, plan, training.start())
    same, other = start("static", weights=dict(record.weights))
    again = train_step(same, other, plan, same.start())
    assert again.losses == record.losses
    assert engine.gradients.keys() == other.gradients.keys()
    assert all(torch.equal(other.gradients[n], value) for n, value in engine.gradients.items())
    assert len(record.weights) > 1


@pytest.mark.parametrize("name", BALANCERS)
def test_every_balancer_trains_with_tasks_that_come_and_go_and_resumes_to_the_bit(start, name):
    training, engine = start(name, **BALANCERS[name])
    progress, whole = training.start(), []
    for record in train_steps(training, engine, progress):
        whole.append(record)
        if record.step == 3:
            saved = json.dumps(progress.content(), sort_keys=True)
            encoder, heads, moments = engine.encoder_state(), engine.head_states(), engine.optimizer_state()
    steps = [frozenset(record.losses) for record in whole]
    assert len(set(steps)) > 1, "every step had every task"
    training, engine = start(name, **BALANCERS[name])
    engine.load_weights(encoder, heads)
    engine.load_optimizer_state(moments)
    rest = list(train_steps(training, engine, Progress.of(json.loads(saved)), start=3))
    assert [r.loss for r in rest] == [r.loss for r in whole[3:]]
    assert [r.weights for r in rest] == [r.weights for r in whole[3:]]
    if name not in ("equal", "static"):
        assert whole[-1].weights != whole[0].weights


def test_a_weight_that_collapses_is_said_once(start, caplog):
    training, engine = start("static", weights={"mlm@film": 1e-4})
    with caplog.at_level("WARNING"):
        list(train_steps(training, engine, training.start()))
    (warning,) = [r.getMessage() for r in caplog.records if "mlm@film" in r.getMessage()]
    assert "balancer 'static': step " in warning
    assert "mlm@film weighs 0.0001, under 0.01 of the tasks' mean weight" in warning


def test_a_collapse_is_seen_where_each_step_has_one_task(specs, caplog):
    balancer = {"name": "static", "options": {"weights": {"names@news": 1e-4}}}
    corpus = specs.corpus(specs.content("shops", "names", balancer=balancer))
    spec = corpus.run.spec
    model = build_model(corpus, list(corpus.run.tasks.values()), 1)
    training = plan_training(corpus, model, spec.schedule, spec.optimizer, 1, "test")
    engine = LocalEngine(EngineSpec(), spec.optimizer, model.encoder, model.heads, torch.device("cpu"))
    with caplog.at_level("WARNING"):
        records = list(train_steps(training, engine, training.start()))
    assert {len(record.losses) for record in records} == {1}
    assert [r.getMessage() for r in caplog.records if "names@news weighs 0.0001, under" in r.getMessage()]


def test_a_collapse_of_a_tasks_gradient_is_said(specs, caplog):
    """The shortest sum of a short gradient and one a thousand times as long has hardly any of that one."""
    pytest.importorskip("torchjd")
    balancing = Balancing(
        specs.resolve(specs.content("films", balancer={"name": "mgda"})).balancer, ["a", "b"], 1, 10
    )
    state = balancing.state(0, {"a": 0.5, "b": 0.5}, {})
    with caplog.at_level("WARNING"):
        balancing.combine(replace(state, losses={"a": 1.0, "b": 1.0}), np.diag([1.0, 1e6]))
    assert re.search("step 1: b weighs .*, under 0.01 of the tasks' mean weight", caplog.text)


@pytest.mark.parametrize("scope", ["all", "last_layer"])
def test_gradients_apart_add_up_to_the_steps(start, scope):
    """With all weights 1, encoder and heads get the gradient that one backward gives."""
    together, engine = start("equal")
    plan = together.planner.plan(0, together.planner.start())
    record = train_step(together, engine, plan, together.start())
    apart, other = start("gradnorm", scope=scope)  # its weights start at 1
    again = train_step(apart, other, plan, apart.start())
    assert again.losses == record.losses
    assert again.loss == record.loss
    assert again.gradient_norms == pytest.approx(record.gradient_norms, rel=1e-5)
    assert engine.gradients.keys() == other.gradients.keys()
    for name, gradient in engine.gradients.items():
        torch.testing.assert_close(other.gradients[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("freeze", [("embeddings", "encoder.layer.0"), ("*",)])
def test_below_the_last_layer_nothing_need_be_trained(start, freeze):
    training, engine = start("gradnorm", freeze=freeze)
    plan = training.planner.plan(0, training.planner.start())
    record = train_step(training, engine, plan, training.start())
    together, other = start("equal", freeze=freeze)
    again = train_step(together, other, plan, together.start())
    assert record.gradient_norms == pytest.approx(again.gradient_norms, rel=1e-5)


def test_equal_weights_of_slices_train_as_one_backward_does(start, monkeypatch):
    """Whole trainings: the same losses to 1e-6, with cuts in every step, or in every other one."""
    ordinary = [r.losses for r in trained(*start("equal"))]
    monkeypatch.setattr(
        Balancing, "combine", lambda self, state, gramian_TT: (dict.fromkeys(state.shares, 1.0), {})
    )
    for training in (start("gradnorm"), start("equal", log_gradients_every=2)):
        for losses, expected in zip((r.losses for r in trained(*training)), ordinary, strict=True):
            assert losses == pytest.approx(expected, abs=1e-6)


def trained(training, engine):
    return list(train_steps(training, engine, training.start()))


SLICE = "backbone.encoder.layer.1."  # of two layers


@pytest.mark.parametrize("scope", ["all", "last_layer"])
def test_the_gramian_and_the_sum_are_those_of_each_tasks_own_gradient(start, monkeypatch, scope):
    """Against one whole step per task, in which only that task weighs anything."""
    seen = {}

    def combine(self, state, gramian_TT):
        seen["gramian"] = gramian_TT
        return {task: 0.5 + i for i, task in enumerate(state.shares)}, {}

    monkeypatch.setattr(Balancing, "combine", combine)
    training, engine = start("gradnorm", scope=scope)
    plan = training.planner.plan(1, training.planner.start())
    record = train_step(training, engine, plan, training.start())
    tasks = sorted(record.losses)
    assert len(tasks) == 3, "films with two tasks, and one other feed"
    alone = {}
    for task in tasks:
        one, one_engine = start("static", weights=dict.fromkeys(tasks, 1e-30) | {task: 1.0})
        train_step(one, one_engine, plan, one.start())
        alone[task] = one_engine.gradients
    names = [name for name in engine.gradients if engine.gradients[name].abs().max() > 1e-6]
    compared = [name for name in names if scope == "all" or name.startswith(SLICE)]
    rows = torch.stack([torch.cat([alone[t][n].flatten() for n in compared]) for t in tasks]).double()
    assert seen["gramian"] == pytest.approx((rows @ rows.T).numpy(), rel=1e-4)
    for name in names:
        expected = sum((0.5 + i) * alone[task][name] for i, task in enumerate(tasks))
        torch.testing.assert_close(engine.gradients[name], expected, rtol=1e-3, atol=1e-5)
    assert record.weights == {task: 0.5 + i for i, task in enumerate(tasks)}


def test_a_tied_heads_part_of_the_embeddings_gradient_is_weighed_too(start, monkeypatch):
    """The matrix that words are read from is the trunk's; what logits do to it comes from after the slice."""
    monkeypatch.setattr(
        Balancing, "combine", lambda self, state, gramian_TT: ({"mlm@film": 3.0, "names@news": 0.0}, {})
    )
    training, engine = start("gradnorm")
    plans = (training.planner.plan(step, training.planner.start()) for step in range(200))
    plan = next(plan for plan in plans if plan.counts == {"films/mlm": 2, "names": 1})
    train_step(training, engine, plan, training.start())
    one, expected = start("static", weights={"mlm@film": 3.0, "names@news": 1e-30})
    train_step(one, expected, plan, one.start())
    for name, gradient in expected.gradients.items():
        torch.testing.assert_close(engine.gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_evaluation_between_steps_changes_nothing(start):
    """Forward passes without gradients leave no cuts behind, also where the last step was cut."""
    training, engine = start("equal", log_gradients_every=2)
    other, undisturbed = start("equal", log_gradients_every=2)
    plan = training.planner.plan(0, training.planner.start())
    ids_BL = torch.tensor([[2, 3, 4]])
    for step in range(2):
        with torch.no_grad():
            hidden_BLD, _ = engine.encoder(ids_BL, torch.ones_like(ids_BL))
        assert not hidden_BLD.requires_grad
        records = [
            train_step(t, e, replace(plan, step=step), t.start())
            for t, e in ((training, engine), (other, undisturbed))
        ]
        assert records[0].losses == records[1].losses
    assert engine.encoder.take_cuts() == []


@pytest.mark.parametrize("name", ["static", "gradnorm"])
def test_gradient_statistics_come_every_n_steps(start, monkeypatch, name):
    gramians = []
    real = TaskGradients.gramian
    monkeypatch.setattr(TaskGradients, "gramian", lambda *a: gramians.append(real(*a)) or gramians[-1])
    options = {"weights": {"mlm@film": 2.0}} if name == "static" else {}
    training, engine = start(name, log_gradients_every=2, **options)
    records = list(train_steps(training, engine, training.start()))
    assert [record.gradients is not None for record in records] == [True, False] * 3
    assert len(gramians) == (3 if name == "static" else 6)
    record, gramian_TT = records[0], gramians[0]
    tasks = sorted(record.losses)
    scale = {t: sum(n for f, n in record.slots.items() if t in training.feeds[f].tasks) / 3 for t in tasks}
    scale = {t: s * record.weights[t] if name == "static" else s for t, s in scale.items()}
    norms = {t: np.sqrt(gramian_TT[i, i]) / scale[t] for i, t in enumerate(tasks)}
    assert record.gradients.norms == pytest.approx(norms)
    pairs = {(a, b): gramian_TT[i, j] / np.sqrt(gramian_TT[i, i] * gramian_TT[j, j])
             for i, a in enumerate(tasks) for j, b in enumerate(tasks) if i < j}  # fmt: skip
    assert {
        (a, b): c for a, row in record.gradients.cosines.items() for b, c in row.items()
    } == pytest.approx(pairs)
    assert record.gradients.conflict_rate == pytest.approx(np.mean([c < 0 for c in pairs.values()]))
    assert json.loads(json.dumps(asdict(record)))["gradients"]["norms"].keys() == norms.keys()


def test_tasks_without_a_gradient_are_as_absent(start):
    """Their rows would leave a Gramian without inverse; the others are weighed among themselves."""
    training, _ = start("gradnorm")
    balancing = training.balancing
    state = balancing.state(0, {"a": 0.5, "b": 0.25, "c": 0.25}, {})
    seen = []
    balancing._balancer.combine = lambda state, gramian: (
        seen.append((state.shares, gramian)) or ([3.0, 4.0], {"x": 1})
    )
    weights, memory = balancing.combine(state, np.array([[4.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 9.0]]))
    assert weights == {"a": 3.0, "b": 1.0, "c": 4.0}
    assert memory == {"x": 1}
    assert seen[0][0] == {"a": 0.5, "c": 0.25}
    assert seen[0][1].tolist() == [[4.0, 1.0], [1.0, 9.0]]
    assert balancing.combine(state, np.diag([1.0, 0.0, 0.0])) == ({"a": 1.0, "b": 1.0, "c": 1.0}, {})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_method_is_asked_about_gradients_that_are_not_finite(start, bad):
    training, _ = start("gradnorm")
    training.balancing._balancer.combine = lambda state, gramian: pytest.fail("was asked")
    state = training.balancing.state(4, {"a": 0.5, "b": 0.5}, {"kept": True})
    gramian_TT = np.array([[bad, bad], [bad, 1.0]])
    assert training.balancing.combine(state, gramian_TT) == ({"a": 1.0, "b": 1.0}, {"kept": True})


def test_without_finite_weights_gradients_are_added_up_with_a_warning(start, caplog):
    training, _ = start("gradnorm")
    training.balancing._balancer.combine = lambda state, gramian: ([float("nan"), 1.0], {"lost": True})
    state = training.balancing.state(4, {"a": 0.5, "b": 0.5}, {"kept": True})
    assert training.balancing.combine(state, np.eye(2)) == ({"a": 1.0, "b": 1.0}, {"kept": True})
    assert "balancer 'gradnorm': step 5: no finite weights, all weigh 1" in caplog.text
