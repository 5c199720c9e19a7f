"""Two ranks give the losses of one process at every stage, where one call of the encoder is not all."""

import json
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.distributed

SCRIPT = Path(__file__).with_name("runs.py")
DECODING = {"decoding": {"beams": 2, "max_length": 8}}


def compared(name, steps=0):
    """Return a task that compares texts, or their parts, with each other."""
    segments = {"options": {"segment_tokens": 2, "steps_ahead": steps}} if name == "cpc" else {}
    segments = {"options": {"segment_tokens": 2}} if name == "future_regression" else segments
    return {
        "name": name,
        "fields": {"text": "text"},
        "objective": {"name": name, **segments},
        "head": {"name": "embedding", "options": {"steps": steps}},
        "metrics": ["mean_loss"],
    }


WRITTEN = [  # a head makes the encoder's input, or writes on it
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
COMPARED = [compared("simcse"), compared("cpc", 2), compared("future_regression", 1)]
NAMES = {"written": WRITTEN, "compared": COMPARED}
SCHEDULE = {
    "tokens_per_batch": 400,
    "max_steps": 9,
    "sampler": {"name": "round_robin"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_specs, start):
    folder = tmp_path_factory.mktemp("objectives")
    specs = make_specs(folder)
    for name, tasks in NAMES.items():
        content = specs.content(
            "films",
            schedule=SCHEDULE,
            evaluation={"max_generated": 7},  # no multiple of the ranks' batches
            optimizer={"lr": 1e-3},
        )
        content["encoder"] |= {"dropout": 0.0}
        content["encoder"]["tokenizer"]["sentinels"] = 8
        content["streams"][0]["tasks"] = tasks
        specs.write(content, f"{name}.yaml")
    cache = specs.texts / "cache"
    start(1, SCRIPT, folder, cache, "written:written-local:local", "compared:compared-local:shares")
    jobs = [f"{name}:{name}-zero{stage}:zero{stage}" for name in NAMES for stage in range(4)]
    start(2, SCRIPT, folder, cache, *jobs)
    return folder


def records(folder, name, kind):
    lines = (folder / name / "train" / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


@pytest.mark.parametrize("stage", range(4))
@pytest.mark.parametrize("name", NAMES)
def test_losses_and_scores_are_those_of_one_process(folder, name, stage):
    runs = (f"{name}-zero{stage}", f"{name}-local")
    ours, theirs = (records(folder, run, "step") for run in runs)
    assert {task for record in theirs for task in record["losses"]} == {
        f"{task['name']}@film" for task in NAMES[name]
    }
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["losses"] == pytest.approx(other["losses"], rel=1e-5)
    mine, other = (records(folder, run, "evaluation")[-1]["scores"] for run in runs)
    for task, scores in other.items():
        assert mine[task] == pytest.approx(scores, abs=1e-4)
