"""A step's loss and gradient against the formula, written out example by example."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from sslm_platform.engine.local import LocalEngine
from sslm_platform.evaluate import make_batch, outputs_of
from sslm_platform.schedule.progress import Progress
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.loop import plan_training, train_step, train_steps
from sslm_platform.train.model import build_model

HALF_OF_THE_FILMS = {"column": "rating", "bins": {"negative": [-3, -3], "positive": [2, 2]}}
WEIGHTS = {"rating@film": 0.25, "mlm@film": 2.0}


class Watched(LocalEngine):
    """Keeps the gradients that ``step`` was called with, and counts what was asked of it."""

    def start_step(self, num_backwards, phase):
        super().start_step(num_backwards, phase)
        self.announced, self.backwards = num_backwards, 0

    def backward(self, loss):
        self.backwards += 1
        super().backward(loss)

    def step(self, active_heads, learning_rate):
        parts = {"encoder": self.encoder, **self.heads}
        self.gradients = {
            f"{part}.{name}": p.grad.clone()
            for part, module in parts.items()
            for name, p in module.named_parameters()
            if p.grad is not None
        }
        self.active = set(active_heads)
        return super().step(active_heads, learning_rate)


@pytest.fixture
def make(specs):
    """Return a function that makes a training and its engine; dropout is off."""

    def make(label="label", **sections):
        content = specs.content(
            "films",
            "names",
            encoder=specs.content()["encoder"] | {"dropout": 0.0},
            optimizer={"lr": 5.0e-3, "warmup": 0.0},
            balancer={"name": "static", "options": {"weights": WEIGHTS}},
            **{
                "schedule": {
                    "tokens_per_batch": 120,
                    "slots_per_step": 5,
                    "max_steps": 6,
                    "sampler": {"name": "uniform"},
                }
            }
            | sections,
        )
        content["streams"][0]["tasks"][0]["fields"]["label"] = label
        for stream in content["streams"]:
            for task in stream["tasks"]:
                if task["head"]["name"] != "lm":
                    task["head"]["options"] = {"dropout": 0.0}
        corpus = specs.corpus(content)
        spec = corpus.run.spec
        model = build_model(corpus, list(corpus.run.tasks.values()), 1)
        training = plan_training(corpus, model, spec.schedule, spec.optimizer, 1, "test")
        engine = Watched(EngineSpec(), spec.optimizer, model.encoder, model.heads, torch.device("cpu"))
        return training, engine

    return make


def brute_force(training, plan):
    """Return sum_t (slots_t / slots) w_t (sum loss_t / sum weight_t), with nothing batched or padded."""
    sums, weights, slots = Counter(), Counter(), Counter()
    for slot in plan.slots:
        split = training.feeds[slot.feed].splits["train"]
        slots.update(split.tasks_of(slot.rows))
        for row in slot.rows:
            models = {t: training.model.tasks[t] for t in split.tasks_of(np.array([row]))}
            pad_id = training.corpus.vocabulary.pad_id
            batch = make_batch(split, np.array([row]), models, pad_id, training.seed, slot.epoch)
            outputs = outputs_of(training.model.encoder, models)(batch)
            for task, part in batch.tasks.items():
                sums[task] += models[task].objective.losses(outputs[task], part.targets, 1).sum()
                weights[task] += float(part.weight_B.sum())
    means = {task: sums[task] / weights[task] for task in sums}
    loss = sum(slots[t] / len(plan.slots) * WEIGHTS.get(t, 1.0) * means[t] for t in means)
    return loss, {task: float(mean.detach()) for task, mean in means.items()}


@pytest.mark.parametrize("label", ["label", HALF_OF_THE_FILMS])
def test_a_steps_loss_and_gradient_are_the_formulas(make, label):
    training, engine = make(label)
    positions = training.planner.start()
    seen = Counter()
    for step in range(3):
        plan = training.planner.plan(step, positions)
        loss, means = brute_force(training, plan)
        loss.backward()
        parts = {"encoder": training.model.encoder, **training.model.heads}
        expected = {
            f"{part}.{name}": p.grad.clone()
            for part, module in parts.items()
            for name, p in module.named_parameters()
            if p.grad is not None
        }
        for module in parts.values():
            module.zero_grad()
        record = train_step(training, engine, plan, training.start())
        assert record.loss == pytest.approx(float(loss.detach()), rel=1e-5)
        assert record.losses == pytest.approx(means, rel=1e-5)
        assert engine.announced == engine.backwards == len(plan.slots) == 5
        for name, gradient in expected.items():
            torch.testing.assert_close(engine.gradients[name], gradient, rtol=1e-3, atol=1e-6)
        assert engine.active == {training.model.tasks[t].task.head_key for t in means}
        assert set(record.gradient_norms) == {"encoder", *engine.active}
        positions = plan.positions
        seen.update(record.slots)
    assert len(seen) == 3  # all feeds, the masked one among them, took part


def test_a_row_without_one_tasks_field_is_trained_for_the_other(make):
    """Over one pass each task sees every example that has its fields, once."""
    training, _ = make(
        HALF_OF_THE_FILMS,
        schedule={"tokens_per_batch": 120, "max_steps": 60, "sampler": {"name": "round_robin"}},
    )
    positions, seen = training.planner.start(), Counter()
    for step in range(60):
        plan = training.planner.plan(step, positions)
        for slot in plan.slots:
            if slot.feed == "films" and slot.epoch == 0:
                for task in training.tasks_in(slot):
                    seen.update((task, int(row)) for row in slot.rows)
        positions = plan.positions
    assert positions["films"].epoch > 0
    assert set(seen.values()) == {1}
    counts = Counter(task for task, _ in seen)
    corpus = training.corpus
    assert counts == {
        name: len(corpus.task_rows[name].splits["train"].rows) for name in ("sentiment@film", "rating@film")
    }
    assert 0 < counts["sentiment@film"] < counts["rating@film"]


def test_two_tasks_of_one_input_are_encoded_once(make):
    training, engine = make()
    calls = []
    engine.encoder.register_forward_hook(lambda *_: calls.append(1))
    record = train_step(
        training, engine, training.planner.plan(0, training.planner.start()), training.start()
    )
    assert len(calls) == sum(record.slots.values()) == 5
    assert "films" in record.slots
    assert {"sentiment@film", "rating@film"} <= set(record.losses)


def test_a_task_that_does_not_take_part_keeps_its_head(make):
    training, engine = make(schedule={"tokens_per_batch": 60, "max_steps": 6, "sampler": {"name": "uniform"}})
    before = {n: {k: v.clone() for k, v in h.state_dict().items()} for n, h in engine.heads.items()}
    idle = set()
    for record in train_steps(training, engine, training.start()):
        for name, head in engine.heads.items():
            same = all(torch.equal(v, before[name][k]) for k, v in head.state_dict().items())
            assert same == (name not in engine.active), (record.step, name)
            idle |= {name} if same else set()
            before[name] = {k: v.clone() for k, v in head.state_dict().items()}
    assert idle == set(engine.heads)


def test_a_record_says_what_the_step_was(make):
    training, engine = make()
    plan = training.planner.plan(0, training.planner.start())
    record = train_step(training, engine, plan, training.start())
    lengths = [training.feeds[slot.feed].splits["train"].lengths_N[slot.rows].tolist() for slot in plan.slots]
    assert record.num_tokens == sum(map(sum, lengths))
    assert record.num_padded_tokens == sum(len(row) * max(row) for row in lengths)
    assert max(len(row) * max(row) for row in lengths) <= 120
    assert sum(record.slots.values()) == 5
    assert (record.step, record.num_steps, record.phase) == (1, 6, "test")
    assert record.weights == {task: WEIGHTS.get(task, 1.0) for task in record.losses}
    assert 0 < record.learning_rate <= training.optimizer.lr


def test_epochs_are_passes_over_all_feeds_together(make):
    training, _ = make(schedule={"tokens_per_batch": 120, "slots_per_step": 2, "epochs": 1.5})
    batches = sum(len(training.planner.batches(feed, 0)) for feed in training.feeds)
    assert training.num_steps == -(-1.5 * batches // 2)


def test_resuming_in_the_middle_repeats_dropout_and_order(specs):
    """Steps 3 and 4 alone, from step 2's weights and positions, are those of the whole training."""
    corpus = specs.corpus(specs.content("films", "names"))
    spec = corpus.run.spec

    def start():
        model = build_model(corpus, list(corpus.run.tasks.values()), 1)
        training = plan_training(corpus, model, spec.schedule, spec.optimizer, 1, "test")
        engine = LocalEngine(EngineSpec(), spec.optimizer, model.encoder, model.heads, torch.device("cpu"))
        return training, engine

    training, engine = start()
    whole, states = [], []
    progress = training.start()
    for record in train_steps(training, engine, progress):
        whole.append(record)
        schedule = Progress.of(progress.content())
        states.append((schedule, engine.encoder_state(), engine.head_states(), engine.optimizer_state()))
    schedule, encoder, heads, optimizer = states[1]
    training, engine = start()
    torch.manual_seed(999)
    engine.load_weights(encoder, heads)
    engine.load_optimizer_state(optimizer)
    resumed = list(train_steps(training, engine, schedule, start=2))
    assert [r.loss for r in resumed] == [r.loss for r in whole[2:]]
    assert [r.losses for r in resumed] == [r.losses for r in whole[2:]]
