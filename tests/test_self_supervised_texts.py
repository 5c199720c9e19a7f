"""Texts with holes: written by a decoder that learns from texts alone."""

from __future__ import annotations

import json

import pytest

from sslm_platform.errors import SpecError
from sslm_platform.runs import load_run, read_scores

HEAD = {
    "name": "decoder",
    "shared_as": "decoder",
    "options": {"layers": 1, "dropout": 0.0, "decoding": {"max_length": 24}},
}
TASKS = [
    {
        "name": "spans",
        "fields": {"text": "text"},
        "objective": {"name": "span_corruption"},
        "head": HEAD,
        "metrics": ["bits_per_token", "perplexity"],
    },
    {
        "name": "denoising",
        "fields": {"text": "text"},
        "objective": {"name": "denoising"},
        "head": HEAD,
        "metrics": ["bits_per_token", "chrf"],
    },
]


def content(specs, **sections):
    made = specs.content("films", **sections)
    made["streams"][0]["tasks"] = json.loads(json.dumps(TASKS))
    made["encoder"]["tokenizer"]["sentinels"] = 8
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_specs, texts):
    from tests.conftest import run_cli

    folder = tmp_path_factory.mktemp("denoising")
    specs = make_specs(folder)
    made = content(
        specs,
        schedule={"tokens_per_batch": 512, "max_steps": 100, "sampler": {"name": "round_robin"}},
        evaluation={"max_generated": 5},
        limit={"test": 12},
        transfer=[
            {"source_stage": "full", "target_stage": "zero_shot", "sources": "joint", "targets": "all"}
        ],
    )
    status, _, err = run_cli("run", specs.write(made), "--out", folder / "run", "--cache", texts / "cache")
    assert status == 0, err
    return folder / "run"


def test_holes_are_filled_far_better_than_by_the_frequency_of_tokens(run):
    scores = {score.task: score for score in read_scores(run)}
    spans, denoising = scores["spans@film"], scores["denoising@film"]
    assert spans.scores["bits_per_token"].value < 0.75 * spans.majority["bits_per_token"].value
    assert denoising.scores["bits_per_token"].value < 0.75 * denoising.majority["bits_per_token"].value
    assert denoising.scores["chrf"].value > denoising.majority["chrf"].value


def test_its_cells_have_no_baseline_that_reads_a_reference(run):
    records = [json.loads(p.read_text()) for p in (run / "transfer" / "cells").glob("*/record.json")]
    assert all(record["status"] == "done" for record in records), [r["error"] for r in records]
    assert {r["key"]["source_stage"] for r in records} >= {"full", "majority"}
    assert not {r["key"]["source_stage"] for r in records} & {"copy", "lead"}


def test_a_denoiser_answers_for_a_text(run):
    (answer,) = load_run(run).predict(["the film was great and the [MASK] felt moving"], "denoising@film")
    assert answer["generated"]


def test_texts_that_no_metric_reads_are_not_written(specs, monkeypatch):
    from sslm_generation.decoder import Decoder

    from sslm_platform.evaluate import score_feed, texts_of
    from sslm_platform.train.model import build_model

    made = content(specs)
    made["streams"][0]["tasks"] = made["streams"][0]["tasks"][:1]
    corpus = specs.corpus(made)
    (task,) = corpus.run.tasks.values()
    model = build_model(corpus, [task], seed=1)
    monkeypatch.setattr(Decoder, "generate", None)
    from sslm_platform.evaluate import outputs_of

    split = corpus.task_feed(task, 1).splits["dev"]
    scored = score_feed(
        outputs_of(model.encoder, model.tasks),
        split,
        model.tasks,
        corpus.vocabulary.pad_id,
        texts=texts_of(model.encoder, model.tasks),
    )["spans@film"]
    assert set(scored.predictions) == {""}
    assert any(scored.references)


def test_targets_of_the_encoders_tokens_have_its_tokenizer(specs):
    made = content(specs)
    made["streams"][0]["tasks"][0]["head"] = {"name": "decoder", "tokenizer": {"vocabulary_size": 300}}
    with pytest.raises(
        SpecError, match="span_corruption makes its targets of the encoder's tokens: leave it out"
    ):
        specs.resolve(made)
