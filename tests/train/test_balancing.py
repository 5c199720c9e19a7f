"""Balancers in real steps: what they are shown, what comes of it, and what a resumed run knows."""

from __future__ import annotations

import json

import pytest
import torch

from sslm_platform.engine.local import LocalEngine
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
}


class Watched(LocalEngine):
    """Keeps the gradients that ``step`` was called with."""

    def step(self, active_heads, learning_rate):
        self.gradients = {n: p.grad.clone() for n, p in self.encoder.named_parameters() if p.grad is not None}
        return super().step(active_heads, learning_rate)


@pytest.fixture
def start(specs):
    """Return a function that starts a training (dropout is on) with a balancer."""

    def start(name, **options):
        content = specs.content(
            "films",
            "names",
            schedule={"tokens_per_batch": 120, "slots_per_step": 3, "max_steps": 6,
                      "sampler": {"name": "uniform"}},
            balancer={"name": name, "options": options},
        )  # fmt: skip
        corpus = specs.corpus(content)
        spec = corpus.run.spec
        model = build_model(corpus, list(corpus.run.tasks.values()), 1)
        training = plan_training(corpus, model, spec.schedule, spec.optimizer, 1, "test")
        engine = Watched(EngineSpec(), spec.optimizer, model.encoder, model.heads, torch.device("cpu"))
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
