"""Texts are generated in equal steps on all ranks: a sharded decoder answers as one that is whole."""

import json
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.distributed

SCRIPT = Path(__file__).with_name("runs.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_specs, start):
    folder = tmp_path_factory.mktemp("generation")
    specs = make_specs(folder)
    task = {
        "name": "verdict",
        "fields": {"text": "text", "target": "label"},
        "objective": {"name": "teacher_forcing"},
        "head": {
            "name": "decoder",
            "sharded": True,
            "tokenizer": {"vocabulary_size": 280},
            "options": {"layers": 1, "dropout": 0.0, "decoding": {"beams": 2, "max_length": 12}},
        },
        "metrics": ["same_text", "chrf"],
    }
    content = specs.content(
        "films",
        encoder=specs.content()["encoder"] | {"dropout": 0.0},
        schedule={"tokens_per_batch": 400, "max_steps": 20},
        evaluation={"every": 10, "max_generated": 15},  # no multiple of the ranks' batches
        optimizer={"lr": 1e-2},
    )
    content["streams"][0]["tasks"] = [task]
    specs.write(content, "texts.yaml")
    cache = specs.texts / "cache"
    start(1, SCRIPT, folder, cache, "texts:local:local")
    start(2, SCRIPT, folder, cache, "texts:zero2:zero2", "texts:zero3:zero3")
    return folder


def records(folder, name, kind):
    lines = (folder / name / "train" / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


@pytest.mark.parametrize("name", ["zero2", "zero3"])
def test_a_sharded_decoder_learns_and_answers_like_a_whole_one(folder, name):
    for ours, theirs in zip(records(folder, name, "step"), records(folder, "local", "step"), strict=True):
        assert ours["losses"] == pytest.approx(theirs["losses"], abs=1e-4)
    scorings = records(folder, name, "evaluation"), records(folder, "local", "evaluation")
    assert len(scorings[0]) == 2
    for ours, theirs in zip(*scorings, strict=True):
        assert ours["scores"]["verdict@film"] == pytest.approx(theirs["scores"]["verdict@film"], abs=1e-6)
    assert 0 < scorings[0][-1]["scores"]["verdict@film"]["chrf"] <= 1
