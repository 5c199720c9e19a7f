"""The encoder itself writes texts: what it reads, what it writes step by step, and what a run makes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sslm_platform.errors import SpecError
from sslm_platform.evaluate import make_batch, outputs_of, texts_of
from sslm_platform.model.continuing import Continuation, keeps_states
from sslm_platform.runs import load_run, read_scores
from sslm_platform.train.model import build_model

VERDICT = {
    "name": "verdict",
    "fields": {"text": "text", "target": {"column": "label", "max_tokens": 6}},
    "objective": {"name": "prefix_lm"},
    "head": {"name": "unilm", "options": {"decoding": {"max_length": 16, "beams": 2}}},
    "metrics": ["same_text", "bleu", "bits_per_token"],
}
T = "streams[0].tasks[0]"


def content(specs, **sections):
    made = specs.content("films", **sections)
    made["streams"][0]["tasks"] = [json.loads(json.dumps(VERDICT))]
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_specs, texts):
    from tests.conftest import run_cli

    folder = tmp_path_factory.mktemp("prefix")
    specs = make_specs(folder)
    transfer = [{"source_stage": "full", "target_stage": "zero_shot", "sources": "joint", "targets": "all"}]
    made = content(
        specs,
        schedule={"tokens_per_batch": 512, "max_steps": 150},
        evaluation={"every": 150, "max_generated": 5},
        optimizer={"lr": 3.0e-3},
        limit={"test": 12},
        transfer=transfer,
    )
    made["encoder"]["dropout"] = 0.0
    status, out, err = run_cli("run", specs.write(made), "--out", folder / "run", "--cache", texts / "cache")
    assert status == 0, err
    return folder / "run", out


def test_an_encoder_with_a_prefix_writes_too(specs, encoder_folder):
    """Kept states come in the argument that a prefix takes."""
    adapter = {"name": "prefix_tuning", "per": "task", "options": {"num_virtual_tokens": 2}}
    made = content(specs, encoder={**encoder_folder, "adapter": adapter}, limit={"test": 4})
    corpus = specs.corpus(made)
    model = build_model(corpus, list(corpus.run.tasks.values()), 1)
    (feed,) = corpus.feeds(list(corpus.run.tasks.values()), 1).values()
    batch = make_batch(feed.splits["test"], np.arange(4), model.tasks, corpus.vocabulary.pad_id, 0, 0)
    rest = iter([True] * 3 + [False] * 99)
    with torch.no_grad():
        texts = texts_of(model.encoder, model.tasks)(batch, lambda unfinished: next(rest))
    assert len(texts["verdict@film"]) == 4


def test_the_encoder_learns_to_write(run):
    (scores,) = read_scores(run[0])
    assert scores.scores["same_text"].value == 1.0
    assert scores.scores["bits_per_token"].value < 0.5 * scores.majority["bits_per_token"].value
    assert 0 < scores.majority["same_text"].value < 0.8


def test_a_saved_encoder_answers_what_it_learned(run):
    texts = [
        "the film was great and the plot felt moving, take 900",
        "the music was awful and the cast felt dull",
    ]
    answers = load_run(run[0]).predict(texts, "verdict@film")
    assert [answer["generated"] for answer in answers] == ["positive", "negative"]


def test_cells_have_the_baselines_of_texts(run):
    records = [json.loads(p.read_text()) for p in (run[0] / "transfer" / "cells").glob("*/record.json")]
    assert all(record["status"] == "done" for record in records), [r["error"] for r in records]
    found = {r["key"]["source_stage"]: r["scores"]["same_text"]["value"] for r in records}
    assert found["full"] == 1.0
    assert found["copy"] == 0.0
    assert {"majority", "lead"} <= set(found)


@pytest.fixture
def opened(specs):
    """A task with an untrained model, and a batch of its training split."""
    corpus = specs.corpus(content(specs))
    (task,) = corpus.run.tasks.values()
    model = build_model(corpus, [task], seed=1)
    for module in (model.encoder, *model.heads.values()):
        module.eval()
    split = corpus.task_feed(task, 1).splits["train"]
    batch = make_batch(split, np.arange(7), model.tasks, corpus.vocabulary.pad_id, 0, 0)
    return model, batch, split


def test_a_text_is_followed_by_its_target_and_an_end(opened):
    model, batch, split = opened
    (task,) = model.tasks.values()
    tokens, part = task.tokenizer, batch.tasks["verdict@film"]
    for row in range(7):
        ids = batch.inputs["input_ids_BL"][row][batch.inputs["mask_BL"][row]].tolist()
        prefix = int(part.prefix_B[row])
        (target,) = tokens.encode([split.values("verdict@film", "target")[row]])
        assert ids[prefix:] == [*target, tokens.end_id]
        assert batch.inputs["segment_BL"][row, : len(ids)].tolist() == [0] * prefix + [1] * (len(target) + 1)


@pytest.mark.parametrize("kept", [True, False])
def test_steps_give_the_logits_of_the_whole_text(opened, kept):
    """Texts of different lengths, with copies that change places; with keys and values kept, and without."""
    model, batch, _ = opened
    backbone = model.tasks["verdict@film"].backbone
    assert backbone is model.encoder.backbone
    backbone = backbone if kept else None
    (task,) = model.tasks.values()
    part = batch.tasks["verdict@film"]
    with torch.no_grad():
        whole_NV = outputs_of(model.encoder, model.tasks)(batch)["verdict@film"]
        continued = Continuation(
            model.encoder, task.head.module, batch.inputs, part.prefix_B, task.room, backbone
        )
        continued.repeat(2)
        labels = [part.targets["labels"][part.targets["example"] == row].tolist() for row in range(7)]
        written = [0] * 14
        for step in range(min(map(len, labels))):
            logits_RV = continued.following(torch.tensor(written))
            continued.reorder(torch.arange(14).view(7, 2).flip(1).flatten())
            rows = [torch.nonzero(part.targets["example"] == row).flatten()[step] for row in range(7)]
            expected_RV = whole_NV[torch.stack(rows)].repeat_interleave(2, 0)
            torch.testing.assert_close(logits_RV, expected_RV, atol=1e-5, rtol=1e-5)
            written = [labels[row // 2][step] for row in range(14)]


@pytest.mark.parametrize(
    ("kind", "expected"), [("bert", True), ("electra", True), ("distilbert", False), ("roberta", False)]
)
def test_keys_and_values_are_kept_where_that_changes_nothing(kind, expected):
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "embedding_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    if kind == "distilbert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 16}
    backbone = AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=30, **sizes))
    assert keeps_states(backbone.train()) is expected
    assert backbone.training


def test_texts_do_not_depend_on_targets_or_on_the_batch(opened):
    model, batch, _ = opened
    write = texts_of(model.encoder, model.tasks)
    changed = dict(batch.inputs)
    prefix_B1 = batch.tasks["verdict@film"].prefix_B[:, None]
    after_BL = torch.arange(changed["input_ids_BL"].shape[1]) >= prefix_B1
    changed["input_ids_BL"] = changed["input_ids_BL"].masked_fill(after_BL, 9)
    from dataclasses import replace

    with torch.no_grad():
        first, other = (write(b, lambda more: more) for b in (batch, replace(batch, inputs=changed)))
    assert first == other


def test_a_text_is_cut_at_one_length_whatever_its_target(specs):
    made = content(specs)
    made["encoder"] |= {"max_length": 14}
    rows = [
        {
            "text": f"take {i}: the plot was great " + "and the cast felt dull " * 3,
            "label": label * (1 + i % 9),
        }
        for i in range(60)
        for label in ("good ", "bad ")
    ]
    path = specs.folder / "long.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made["streams"][0]["data"]["path"] = str(path)
    corpus = specs.corpus(made)
    (task,) = corpus.run.tasks.values()
    split = corpus.task_feed(task, 1).splits["train"]
    examples = split.encoded("verdict@film", range(len(split)), ())
    prefixes = {int(np.count_nonzero(example.segment_L == 0)) for example in examples}
    assert prefixes == {14 - 6}
    assert {len(example.input_ids_L) for example in examples} <= set(range(8 + 2, 14 + 1))
    assert task.target_room(14) == 6
    ended = {example.special_L[-1]: len(example.input_ids_L) for example in examples}
    assert ended.keys() == {0, 1}, "some targets are cut"
    assert all(example.special_L[-1] for example in examples if len(example.input_ids_L) < 14)
    assert ended[0] == 14, "what is cut has no end to learn"


@pytest.fixture
def problems(specs):
    def problems(made):
        with pytest.raises(SpecError) as caught:
            specs.resolve(made)
        return [str(problem).rpartition("spec.yaml: ")[2] for problem in caught.value.problems]

    return problems


def test_reading_and_writing_must_fit(specs, problems):
    made = content(specs)
    task = made["streams"][0]["tasks"][0]
    task["head"] = {"name": "decoder"}
    assert problems(made) == [
        f"{T}.head.name: with objective prefix_lm the encoder reads what it is to write too: take a head with"
        " which the encoder itself writes"
    ]
    task["head"], task["objective"], task["fields"]["target"] = (
        {"name": "unilm"},
        {"name": "teacher_forcing"},
        "label",
    )
    assert problems(made) == [
        f"{T}.head.name: with objective teacher_forcing the encoder reads a text whole, and nothing after it:"
        " take a head with which a decoder writes"
    ]
    task["head"] = {"name": "decoder"}
    task["fields"]["target"] = {"column": "label", "max_tokens": 9}
    assert problems(made) == [f"{T}.fields.target.max_tokens: does not apply to a field of kind target_text"]


def test_a_target_leaves_something_to_the_text(specs, problems):
    made = content(specs)
    made["streams"][0]["tasks"][0]["fields"]["target"]["max_tokens"] = 30
    assert problems(made) == [
        f"{T}.fields.target.max_tokens: 30 tokens of encoder.max_length 32 leave less than 8 to the text"
    ]


def test_the_encoder_writes_with_its_own_tokenizer(specs, problems):
    made = content(specs)
    made["streams"][0]["tasks"][0]["head"]["tokenizer"] = {"vocabulary_size": 300}
    assert problems(made) == [f"{T}.head.tokenizer: unilm writes with the encoder's: leave it out"]
