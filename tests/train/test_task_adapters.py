"""Adapters of single heads: what moves when, that switching is exact, what is saved, and who reads it."""

import json

import pytest
import torch
from transformers import AutoModel

pytest.importorskip("peft")
from sslm_platform.engine.factory import make_engine
from sslm_platform.model.task_adapter import adapter_of
from sslm_platform.predict import Predictor
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.joint import score_saved
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import build_model, load_trained

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PeftModel's

IDS_BL = torch.tensor([[2, 5, 7, 3]])
MASK_BL = torch.ones_like(IDS_BL)
LORA = {
    "name": "lora",
    "per": "task",
    "options": {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"]},
}


@pytest.fixture
def content(specs, trainings, encoder_folder):
    encoder = {**encoder_folder, "adapter": LORA, "max_unknown": 1.0}
    return specs.content("films", "names", **trainings.sections, encoder=encoder)


def training_of(corpus, tasks, steps):
    spec = corpus.run.spec
    model = build_model(corpus, tasks, 1)
    engine = make_engine(spec.engine, spec.optimizer, model.encoder, model.heads)
    planned = plan_training(corpus, model, spec.schedule, spec.optimizer, 1, "x", max_steps=steps)
    return model, engine, planned


def parts(engine):
    """Return all that could move: weights and optimizer state."""
    heads = {f"heads/{k}/{n}": v for k, s in engine.head_states().items() for n, v in s.items()}
    return {**engine.encoder_state(), **heads, **engine.optimizer_state()}


def test_each_step_moves_the_heads_of_its_tasks_and_their_adapters_alone(specs, content):
    content["schedule"]["slots_per_step"] = 1
    corpus = specs.corpus(content)
    model, engine, planned = training_of(corpus, list(corpus.run.tasks.values()), 12)
    assert all(len(feed.tasks) == 1 for feed in planned.feeds.values()), "two adapters on one encoding"
    progress, before, seen = planned.start(), {}, set()
    for record in train_steps(planned, engine, progress):
        after = parts(engine)
        active = {model.tasks[task].task.head_key for task in record.losses}
        moved = {n for n, v in after.items() if n not in before or not torch.equal(v, before[n])}
        if before:
            assert {name.split("/")[1] for name in moved} <= active
            assert all(name.startswith("heads/") for name in moved), "the encoder is frozen"
            if record.learning_rate:
                for key in active:
                    assert any(f"heads/{key}/encoder_adapter." in name for name in moved)
        before, seen = after, seen | active
    assert len(seen) > 2


def test_tasks_trained_together_end_as_if_each_were_alone(specs, content):
    """With one slot a step and a constant rate nothing of another task reaches a task's steps."""
    content["schedule"]["slots_per_step"] = 1
    content["schedule"]["sampler"] = {"name": "round_robin"}
    content["optimizer"] |= {"warmup": 0.0, "decay": "constant"}
    content["encoder"]["dropout"] = 0.0
    content["streams"][0]["tasks"][0]["head"]["options"] = {"dropout": 0.0}
    corpus = specs.corpus(content)
    tasks = [corpus.run.tasks[name] for name in ("sentiment@film", "names@news")]
    together, engine, planned = training_of(corpus, tasks, 8)
    list(train_steps(planned, engine, planned.start()))
    key = tasks[0].head_key  # batches are keyed by a feed's place, and the first one's is the same
    alone, engine, planned = training_of(corpus, tasks[:1], 4)
    list(train_steps(planned, engine, planned.start()))
    mine, theirs = (m.heads[key].state_dict() for m in (alone, together))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_they_are_killed_resumed_saved_loaded_by_peft_and_answer(
    specs, content, encoder_folder, tmp_path, trainings
):
    from peft import PeftModel

    corpus = specs.corpus(content)
    corpus.check_backbone()
    said = trainings.train(corpus, tmp_path / "whole")
    assert "0 of " in said
    assert "each head has an adapter of its own, of 1,024" in said
    trainings.kill(corpus, tmp_path / "killed", 5)
    trainings.train(corpus, tmp_path / "killed")
    trainings.assert_same(tmp_path / "killed", tmp_path / "whole")

    run = RunFolder(tmp_path / "whole")
    model = load_trained(corpus, list(corpus.run.tasks.values()), run.model)
    plain = AutoModel.from_pretrained(encoder_folder["path"]).eval()
    saved = AutoModel.from_pretrained(run.model / "encoder").eval()
    assert all(value.equal(saved.state_dict()[name]) for name, value in plain.state_dict().items())
    states = {}
    for key, head in model.heads.items():
        model.encoder.eval()
        states[key], _ = model.encoder(IDS_BL, MASK_BL, adapter=head.encoder_adapter)
        own = PeftModel.from_pretrained(
            AutoModel.from_pretrained(encoder_folder["path"]), run.model / "heads" / key / "adapter"
        )
        torch.testing.assert_close(own.eval()(IDS_BL).last_hidden_state, states[key], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.encoder(IDS_BL, MASK_BL)[0], plain(IDS_BL).last_hidden_state)
    assert not torch.allclose(states["sentiment"], states["names@news"], atol=1e-4)

    scores = {s.task: s.scores[s.metric].value for s in score_saved(corpus, run, "test")}
    expected = json.loads(run.scores.read_text())["scores"]
    assert scores == {s["task"]: s["scores"][s["metric"]]["value"] for s in expected}
    predictor = Predictor(corpus.run, run.model, "sentiment@film")
    text = "the film was great"
    (answer,) = predictor([text])
    ids = torch.tensor([predictor.tokenizer(text)["input_ids"]])
    hidden, _ = model.encoder(ids, torch.ones_like(ids), adapter=model.heads["sentiment"].encoder_adapter)
    head = model.heads["sentiment"].eval()
    shares = torch.softmax(head(head.features(hidden, torch.ones_like(ids), {})), dim=-1)[0]
    assert list(answer["probabilities"].values()) == pytest.approx(shares.tolist(), abs=1e-3)


def test_worn_it_is_what_all_read_of_the_encoder(specs, content):
    corpus = specs.corpus(content)
    model = build_model(corpus, [corpus.run.tasks["sentiment@film"]], 1)
    (head,) = model.heads.values()
    model.encoder.eval()
    with torch.no_grad():
        for parameter in head.encoder_adapter.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
        before, _ = model.encoder(IDS_BL, MASK_BL)
        expected, _ = model.encoder(IDS_BL, MASK_BL, adapter=head.encoder_adapter)
        model.wear()
        worn, _ = model.encoder(IDS_BL, MASK_BL)
    assert torch.equal(worn, expected)
    assert not torch.allclose(worn, before, atol=1e-3)
    assert adapter_of(head) is None
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
    again = build_model(corpus, [corpus.run.tasks["names@news"]], 1)
    again.encoder.load_state_dict(model.encoder.state_dict())
    again.give_adapters()
    begun, _ = again.encoder.eval()(IDS_BL, MASK_BL, adapter=again.heads["names@news"].encoder_adapter)
    assert torch.equal(begun, expected), "fine-tuning begins with the source's"


def test_cells_read_a_source_through_its_adapter(specs, content, tmp_path, cli):
    content["optimizer"]["lr"] = 0.02
    content["transfer"] = [
        {
            "source_stage": "full",
            "target_stage": stage,
            "sources": [{"task": "sentiment"}, "joint"],
            "targets": {"task": target},
            "max_steps": 4,
        }
        for stage, target in (("zero_shot", "sentiment"), ("probe", "rating"), ("finetune", "rating"))
    ]
    path = specs.write(content)
    out = tmp_path / "run"
    status, _, err = cli("run", path, "--out", out, "--cache", specs.texts / "cache")
    assert status == 0, err
    found = [json.loads(f.read_text()) for f in (out / "transfer" / "cells").glob("*/record.json")]
    assert {r["status"] for r in found} == {"done"}, [r["error"] for r in found if r["error"]]
    asked = {(r["key"]["target_stage"], r["key"]["source_stage"]) for r in found}
    assert {("zero_shot", "full"), ("probe", "full"), ("finetune", "full")} <= asked
    plan = (out / "transfer" / "plan.json").read_text()
    assert "each of the source's heads has an adapter of its own" in plan


def test_prefixes_are_trained_killed_resumed_and_loaded_by_peft(
    specs, content, encoder_folder, tmp_path, trainings
):
    from peft import PeftModel

    content["encoder"]["adapter"] = {
        "name": "prefix_tuning",
        "per": "task",
        "options": {"num_virtual_tokens": 3},
    }
    content["encoder"]["max_length"] = 24
    corpus = specs.corpus(content)
    corpus.check_backbone()
    assert "each head has an adapter of its own, of 384" in trainings.train(corpus, tmp_path / "whole")
    trainings.kill(corpus, tmp_path / "killed", 5)
    trainings.train(corpus, tmp_path / "killed")
    trainings.assert_same(tmp_path / "killed", tmp_path / "whole")
    folder = RunFolder(tmp_path / "whole").model
    model = load_trained(corpus, list(corpus.run.tasks.values()), folder)
    model.encoder.eval()
    for key, head in model.heads.items():
        mask_BL = torch.tensor([[1, 1, 1, 0]])
        states, _ = model.encoder(IDS_BL, mask_BL, adapter=head.encoder_adapter)
        base = AutoModel.from_pretrained(encoder_folder["path"])
        own = PeftModel.from_pretrained(base, folder / "heads" / key / "adapter").eval()
        expected = own(input_ids=IDS_BL, attention_mask=mask_BL).last_hidden_state
        torch.testing.assert_close(states[:, :3], expected[:, :3], rtol=1e-4, atol=1e-5)
    assert Predictor(corpus.run, folder, "sentiment@film")(["the film was great"])[0]["label"]


def test_every_token_sees_a_prefix_where_attention_is_by_pairs(specs, content):
    content["encoder"]["adapter"] = {"name": "prefix_tuning", "per": "task"}
    content["encoder"]["max_length"] = 8
    content["encoder"]["adapter"]["options"] = {"num_virtual_tokens": 2}
    corpus = specs.corpus(content)
    model = build_model(corpus, [corpus.run.tasks["sentiment@film"]], 1)
    adapter = next(iter(model.heads.values())).encoder_adapter
    model.encoder.eval()
    causal_B1LL = torch.ones(4, 4).tril().bool()[None, None]
    with torch.no_grad():
        states, _ = model.encoder(IDS_BL, causal_B1LL, adapter=adapter)
        first, _ = model.encoder(IDS_BL[:, :1], torch.ones(1, 1).bool(), adapter=adapter)
        torch.testing.assert_close(states[:, :1], first)
        adapter.prompt_embeddings.mul_(50.0)
        changed, _ = model.encoder(IDS_BL, causal_B1LL, adapter=adapter)
    assert ((changed - states).abs().amax(dim=-1) > 1e-3).all()


@pytest.mark.parametrize(("per", "wrapper"), [("task", "freelb"), ("run", "smart")])
def test_wrapped_objectives_and_averages_go_with_adapters(specs, content, tmp_path, trainings, per, wrapper):
    content["encoder"]["adapter"] = {**LORA, "per": per}
    content["streams"][0]["tasks"][0]["objective"]["wrapper"] = {"name": wrapper}
    content["optimizer"]["average"] = {"name": "ema", "decay": 0.5}
    corpus = specs.corpus(content)
    trainings.train(corpus, tmp_path / "whole")
    trainings.kill(corpus, tmp_path / "killed", 5)
    trainings.train(corpus, tmp_path / "killed")
    trainings.assert_same(tmp_path / "killed", tmp_path / "whole")


def test_a_prefix_for_all_and_cells_of_one_are_refused(specs, content, cli):
    content["encoder"]["adapter"] = {"name": "prefix_tuning"}
    content["transfer"] = [
        {"source_stage": "full", "target_stage": "probe", "sources": "joint", "targets": {"task": "names"}}
    ]
    status, _, err = cli("check", specs.write(content))
    assert status == 2
    assert "encoder.adapter.per: prefix_tuning does not merge into the encoder's weights" in err
    assert "transfer: cells read a source's encoder" in err


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("engine", {"name": "deepspeed", "zero_stage": 3}, "engine.zero_stage: 3 shards what is trained"),
        ("balancer", {"name": "pcgrad"}, "balancer: encoder.adapter.per: task leaves the encoder frozen"),
        ("optimizer", {"layer_decay": 0.5}, "optimizer.layer_decay: is about the encoder's training"),
        ("optimizer", {"decay_to": "start"}, "optimizer.decay_to: start is the encoder's"),
    ],
)
def test_what_a_frozen_encoder_cannot_do_is_refused(specs, content, cli, section, value, message):
    content[section] = value
    status, _, err = cli("check", specs.write(content))
    assert status == 2
    assert message in err


def test_a_sharded_head_is_refused(specs, content, cli):
    content["streams"][0]["tasks"][0]["head"]["sharded"] = True
    status, _, err = cli("check", specs.write(content))
    assert status == 2
    assert "head.sharded: a head with an adapter of its own" in err
