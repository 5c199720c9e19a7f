"""Two ranks give the losses of one process at every stage, where a head makes the input or writes on it."""

import json
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.distributed

SCRIPT = Path(__file__).with_name("runs.py")
DECODING = {"decoding": {"beams": 2, "max_length": 8}}
TASKS = [
    {
        "name": "rtd",
        "fields": {"text": "text"},
        "objective": {"name": "rtd"},
        "head": {"name": "electra", "options": {"layers": 1, "heads": 2, "width": 16, "dropout": 0.0}},
        "metrics": ["accuracy"],
    },
    {
        "name": "spans",
        "fields": {"text": "text"},
        "objective": {"name": "span_corruption"},
        "head": {"name": "decoder", "options": {"layers": 1, "dropout": 0.0}},
        "metrics": ["bits_per_token"],
    },
    {
        "name": "verdict",
        "fields": {"text": "text", "target": "label"},
        "objective": {"name": "prefix_lm"},
        "head": {"name": "unilm", "options": DECODING},
        "metrics": ["same_text", "chrf"],
    },
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_specs, start):
    folder = tmp_path_factory.mktemp("written")
    specs = make_specs(folder)
    content = specs.content(
        "films",
        schedule={"tokens_per_batch": 400, "max_steps": 9, "sampler": {"name": "round_robin"}},
        evaluation={"max_generated": 7},  # no multiple of the ranks' batches
        optimizer={"lr": 1e-3},
    )
    content["encoder"] |= {"dropout": 0.0}
    content["encoder"]["tokenizer"]["sentinels"] = 8
    content["streams"][0]["tasks"] = TASKS
    specs.write(content, "texts.yaml")
    cache = specs.texts / "cache"
    start(1, SCRIPT, folder, cache, "texts:local:local")
    start(2, SCRIPT, folder, cache, *(f"texts:zero{stage}:zero{stage}" for stage in range(4)))
    return folder


def records(folder, name, kind):
    lines = (folder / name / "train" / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


@pytest.mark.parametrize("stage", range(4))
def test_losses_and_scores_are_those_of_one_process(folder, stage):
    ours, theirs = (records(folder, name, "step") for name in (f"zero{stage}", "local"))
    assert {task for record in theirs for task in record["losses"]} == {
        "rtd@film",
        "spans@film",
        "verdict@film",
    }
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["losses"] == pytest.approx(other["losses"], rel=1e-5)
    mine, other = (records(folder, name, "evaluation")[-1]["scores"] for name in (f"zero{stage}", "local"))
    for task, scores in other.items():
        assert mine[task] == pytest.approx(scores, abs=1e-4)
