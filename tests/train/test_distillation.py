"""Learning without forgetting: its loss by hand, what it holds, and that it goes on with the same bits."""

import pytest
import torch
from safetensors.torch import load_file

from sslm_platform.engine.factory import make_engine
from sslm_platform.evaluate import make_batch, outputs_of
from sslm_platform.model.tap import evaluating
from sslm_platform.spec.optimizer import DistillSpec
from sslm_platform.train.distillation import Distillation
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import build_model

SEQUENCE = {"name": "sequential", "options": {"stages": [{"feeds": ["films"]}, {"feeds": ["shops"]}]}}


@pytest.fixture
def content(specs, trainings):
    schedule = trainings.sections["schedule"] | {"sampler": SEQUENCE}
    optimizer = {"lr": 5.0e-3, "distill": {"strength": 2.0, "temperature": 2.0}}
    content = specs.content(
        "films", "shops", **trainings.sections | {"schedule": schedule, "optimizer": optimizer}
    )
    films, shops = content["streams"]
    films["tasks"] = films["tasks"][:2]  # a class and a value
    shops["tasks"][0]["head"].pop("shared_as")
    return content


def batch_of(corpus, model, name):
    feed = corpus.task_feed(model.tasks[name].task, 1)
    models = {name: model.tasks[name]}
    return models, make_batch(feed.splits["train"], torch.arange(6).numpy(), models, 0, 1, 0)


def test_it_is_the_divergence_from_the_copy_with_softened_logits(specs, content):
    corpus = specs.corpus(content)
    model = build_model(corpus, list(corpus.run.tasks.values()), 1)
    for module in (model.encoder, *model.heads.values()):
        module.eval()
    models, batch = batch_of(corpus, model, "sentiment@shop")
    distillation = Distillation(DistillSpec(strength=3.0, temperature=2.0), model)
    assert distillation.outputs(model.encoder, models, batch)[1] is None, "no stage has ended"
    distillation.take(["sentiment@film", "rating@film"])
    _, at_first = distillation.outputs(model.encoder, models, batch)
    assert float(at_first.detach()) == pytest.approx(0.0, abs=1e-5)

    def answers():
        old = {name: model.tasks[name] for name in ("sentiment@film", "rating@film")}
        states, _ = model.encoder(
            batch.inputs["input_ids_BL"], batch.inputs["mask_BL"], batch.inputs["segment_BL"]
        )
        return [
            m.head.module(m.head.module.features(states, batch.inputs["mask_BL"], {})) for m in old.values()
        ]

    with torch.no_grad():
        logits, values = answers()
        for parameter in model.encoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    new_logits, new_values = answers()
    p, q = torch.softmax(logits / 2.0, -1), torch.softmax(new_logits / 2.0, -1)
    expected = 3.0 * ((p * (p.log() - q.log())).sum() + (values - new_values).square().sum())
    outputs, found = distillation.outputs(model.encoder, models, batch)
    torch.testing.assert_close(found, expected)
    assert outputs["sentiment@shop"].equal(outputs_of(model.encoder, models)(batch)["sentiment@shop"])
    expected.backward()
    gradient = {n: p.grad.clone() for n, p in model.encoder.named_parameters() if p.grad is not None}
    for module in (model.encoder, *model.heads.values()):
        module.zero_grad()
    found.backward()
    for name, parameter in model.encoder.named_parameters():
        if name in gradient:
            torch.testing.assert_close(parameter.grad, gradient[name], rtol=1e-4, atol=1e-6)
    assert all(p.grad is None for head in model.heads.values() for p in head.parameters()), "old heads stay"
    own, own_batch = batch_of(corpus, model, "sentiment@film")
    assert float(distillation.outputs(model.encoder, own, own_batch)[1].detach()) > 0, (
        "the rating's, on these texts"
    )


def test_old_heads_say_of_new_texts_what_they_said(specs, content):
    def drift(strength):
        content["optimizer"]["distill"] = {"strength": strength}
        corpus = specs.corpus(content)
        model = build_model(corpus, list(corpus.run.tasks.values()), 1)
        spec = corpus.run.spec
        engine = make_engine(spec.engine, spec.optimizer, model.encoder, model.heads)
        training = plan_training(corpus, model, spec.schedule, spec.optimizer, 1, "x", max_steps=30)
        _, batch = batch_of(corpus, model, "sentiment@shop")
        old = model.tasks["sentiment@film"].head.module

        def says():
            states, _ = model.encoder(
                batch.inputs["input_ids_BL"], batch.inputs["mask_BL"], batch.inputs["segment_BL"]
            )
            return torch.softmax(old(old.features(states, batch.inputs["mask_BL"], {})), -1)

        said = []
        for record in train_steps(training, engine, training.start()):
            if record.step in (15, 30):
                with torch.no_grad(), evaluating(model.encoder, old):
                    said.append(says())
        return float((said[1] - said[0]).abs().mean())

    assert drift(1.0) < 0.5 * drift(1e-6)


def test_a_sequence_with_distillation_is_resumed_with_the_same_bits(specs, content, tmp_path, trainings):
    corpus = specs.corpus(content)
    trainings.train(corpus, tmp_path / "whole")
    trainings.kill(corpus, tmp_path / "killed", 8)
    kept = load_file(tmp_path / "killed" / "train" / "checkpoint" / "teacher.safetensors")
    assert {name.partition("|")[0] for name in kept} == {"encoder", "sentiment", "rating@film"}
    assert "continuing after step 6" in trainings.train(corpus, tmp_path / "killed")
    trainings.assert_same(tmp_path / "killed", tmp_path / "whole")


def test_heads_that_read_masks_are_refused(specs, cli):
    content = specs.content("films", "shops", optimizer={"distill": {}})
    content["schedule"]["sampler"] = {
        "name": "sequential",
        "options": {"stages": [{"feeds": ["films"]}, {"feeds": ["shops"]}]},
    }
    films = content["streams"][0]
    words = {"positive": ["great"], "negative": ["dull"]}
    head = {"name": "verbalizer", "options": {"words": words}}
    films["tasks"] = [films["tasks"][0] | {"template": "{text} It was {mask}.", "head": head}]
    status, _, err = cli("check", specs.write(content))
    assert (status, "head verbalizer of sentiment@film reads places of its own" in err) == (2, True), err


def test_it_is_refused_where_it_has_no_meaning_or_is_not_exact(specs, cli):
    content = specs.content("films", "names", optimizer={"distill": {}}, balancer={"name": "pcgrad"})
    content["engine"] = {"name": "deepspeed", "zero_stage": 3}
    status, _, err = cli("check", specs.write(content))
    assert status == 2
    assert "optimizer.distill: begins at the end of a stage, and sampler proportional has none" in err
    assert "optimizer.distill: keeps a whole fp32 copy of the encoder on each rank" in err
    assert "optimizer.distill: its gradient is no task's" in err
    assert "head token_classifier of names@news reads places of its own task's texts" in err
