"""What a wrapped objective does to a step of training, against autograd on the encoder's own embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslm_platform.engine.local import LocalEngine
from sslm_platform.errors import SpecError
from sslm_platform.evaluate import make_batch
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.loop import plan_training, train_step
from sslm_platform.train.model import build_model

TASK = "sentiment@film"


def wrapped(specs, name, options=None, dropout=0.0, **sections):
    encoder = specs.content()["encoder"] | {"dropout": dropout}
    content = specs.content("films", encoder=encoder, **sections)
    (stream,) = content["streams"]
    stream["tasks"] = stream["tasks"][:1]
    stream["tasks"][0]["objective"]["wrapper"] = {"name": name, "options": options or {}}
    stream["tasks"][0]["head"]["options"] = {"dropout": dropout}
    return content


class Watched(LocalEngine):
    def start_step(self, num_backwards, phase):
        super().start_step(num_backwards, phase)
        self.announced, self.done = num_backwards, 0

    def backward(self, loss):
        self.done += 1
        super().backward(loss)

    def step(self, active_heads, learning_rate):
        self.gradients = {n: p.grad.clone() for n, p in self.encoder.named_parameters() if p.grad is not None}
        return super().step(active_heads, learning_rate)


def one_step(corpus):
    run, of = corpus.run.spec, corpus.run.gradients_of
    model = build_model(corpus, list(corpus.run.tasks.values()), seed=1)
    engine = Watched(EngineSpec(), run.optimizer, model.encoder, model.heads, torch.device("cpu"), of)
    training = plan_training(corpus, model, run.schedule, run.optimizer, 1, "test")
    progress = training.start()
    plan = training.planner.plan(0, progress.positions)
    record = train_step(training, engine, plan, progress)
    return engine, record, training, plan


def losses_of(model, batch, shift_BLE):
    """The task's losses with the embeddings given, not looked up."""
    bert, part = model.encoder.backbone, batch.tasks[TASK]
    embedded_BLE = bert.get_input_embeddings()(batch.inputs["input_ids_BL"]) + shift_BLE
    hidden_BLD = bert(inputs_embeds=embedded_BLE, attention_mask=batch.inputs["mask_BL"]).last_hidden_state
    task = model.tasks[TASK]
    head = task.head.module
    outputs = head(head.features(hidden_BLD, batch.inputs["mask_BL"], part.targets))
    return task.objective.losses(outputs, part.targets, len(batch.rows))


def test_a_step_with_fgm_has_the_gradient_of_the_clean_and_the_shifted_loss(specs):
    corpus = specs.corpus(wrapped(specs, "fgm", {"epsilon": 0.1}))
    engine, record, training, plan = one_step(corpus)
    assert engine.announced == engine.done == 2
    model = build_model(corpus, list(corpus.run.tasks.values()), seed=1)
    (slot,) = plan.slots
    batch = make_batch(
        training.feeds[slot.feed].splits["train"], slot.rows, {TASK: model.tasks[TASK]}, 0, 1, slot.epoch
    )
    shape = (*batch.inputs["mask_BL"].shape, model.encoder.embedding_size)
    zero_BLE = torch.zeros(shape, requires_grad=True)
    clean_B = losses_of(model, batch, zero_BLE)
    (slope_BLE,) = torch.autograd.grad(clean_B.sum(), zero_BLE, retain_graph=True)
    shift_BLE = 0.1 * slope_BLE / slope_BLE.flatten(1).norm(dim=1)[:, None, None]
    moved_B = losses_of(model, batch, shift_BLE)
    assert (moved_B > clean_B).all()
    ((clean_B + moved_B).sum() / len(slot.rows)).backward()
    assert record.losses[TASK] == pytest.approx(clean_B.mean().item(), rel=1e-5)
    expected = {n: p.grad for n, p in model.encoder.named_parameters() if p.grad is not None}
    assert engine.gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(engine.gradients[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "backwards"),
    [("pgd", {"steps": 2}, 2), ("freelb", {"steps": 4}, 4), ("smart", {}, 1), ("r_drop", {}, 1)],
)
def test_a_wrapper_takes_its_own_number_of_backwards(specs, name, options, backwards):
    engine, record, *_ = one_step(specs.corpus(wrapped(specs, name, options)))
    assert engine.announced == engine.done == backwards
    assert np.isfinite(record.gradient_norms["encoder"])
    assert not record.skipped_for


@pytest.mark.parametrize(
    ("name", "scope"), [("r_drop", "last_layer"), ("r_drop", "all"), ("fgm", "all"), ("smart", "all")]
)
def test_gradients_kept_apart_by_task_are_those_of_the_step(specs, name, scope):
    """Two passes are cut twice where the last layer's gradients are kept; their sum is the trunk's."""
    balancer = {"name": "equal", "log_gradients_every": 1, "scope": scope}
    plain = one_step(specs.corpus(wrapped(specs, name, dropout=0.1)))[1]
    apart = one_step(specs.corpus(wrapped(specs, name, dropout=0.1, balancer=balancer)))[1]
    assert apart.gradients is not None
    assert apart.gradient_norms == pytest.approx(plain.gradient_norms, rel=1e-4)


def test_a_killed_training_with_noise_ends_with_the_same_bits(specs, tmp_path, trainings):
    content = wrapped(specs, "freelb", {"steps": 2}, dropout=0.1, **trainings.sections)
    corpus = specs.corpus(content)
    trainings.train(corpus, tmp_path / "whole")
    trainings.kill(corpus, tmp_path / "killed", 5)
    trainings.train(corpus, tmp_path / "killed")
    trainings.assert_same(tmp_path / "killed", tmp_path / "whole")


REFUSED = [
    ("pgd", {"engine": {"name": "deepspeed", "zero_stage": 2}}, "set engine.name: local"),
    ("smart", {"engine": {"name": "deepspeed", "zero_stage": 0}}, "by which nothing is trained"),
    ("fgm", {"balancer": {"name": "equal", "log_gradients_every": 2}}, "set balancer.scope: all"),
]


@pytest.mark.parametrize(("name", "sections", "message"), REFUSED)
def test_what_cannot_be_exact_is_refused(specs, name, sections, message):
    with pytest.raises(SpecError, match=message) as caught:
        specs.resolve(wrapped(specs, name, **sections))
    assert "streams[0].tasks[0].objective.wrapper.name" in str(caught.value)


def test_names_and_options_of_wrappers_are_checked(specs):
    with pytest.raises(SpecError, match="unknown wrapper 'fgn'; did you mean"):
        specs.resolve(wrapped(specs, "fgn"))
    with pytest.raises(SpecError, match=r"objective\.wrapper\.options\.epsilno: unknown option"):
        specs.resolve(wrapped(specs, "fgm", {"epsilno": 1}))


def test_a_wrapped_task_is_encoded_alone(specs):
    content = specs.content("films")
    content["streams"][0]["tasks"][0]["objective"]["wrapper"] = {"name": "fgm"}
    assert [len(feed.tasks) for feed in specs.resolve(content).feeds] == [1, 1, 1]
