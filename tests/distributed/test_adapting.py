"""Adapters of single heads, and distillation, on two ranks: they do what one process does."""

import json
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")
pytest.importorskip("peft")
pytestmark = pytest.mark.distributed

SCRIPT = Path(__file__).with_name("runs.py")
STAGES = (0, 1, 2)
LORA = {"name": "lora", "per": "task", "options": {"r": 4, "target_modules": ["query", "value"]}}
IN_STAGES = {"name": "sequential", "options": {"stages": [{"feeds": ["films"]}, {"feeds": ["shops"]}]}}
SECTIONS = {"checkpoint": {"every": 4}, "evaluation": {"every": 5}}


def without_dropout(content):
    content["encoder"]["dropout"] = 0.0
    for stream in content["streams"]:
        for task in stream["tasks"]:
            if task["head"]["name"] != "lm":
                task["head"]["options"] = {"dropout": 0.0}
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_specs, start, encoder_folder):
    folder = tmp_path_factory.mktemp("adapting")
    specs = make_specs(folder)
    encoder = {**encoder_folder, "max_unknown": 1.0}
    schedule = {"tokens_per_batch": 150, "slots_per_step": 2, "max_steps": 10}
    optimizer = {"lr": 5e-3, "clip": 0.5}
    adapted = specs.content(
        "films",
        "names",
        encoder=encoder | {"adapter": LORA},
        schedule=schedule,
        optimizer=optimizer,
        **SECTIONS,
    )
    distilled = specs.content(
        "films",
        "shops",
        encoder=encoder,
        schedule=schedule | {"sampler": IN_STAGES},
        optimizer=optimizer | {"distill": {"strength": 3.0}},
        **SECTIONS,
    )
    films, shops = distilled["streams"]
    films["tasks"] = films["tasks"][:2]
    shops["tasks"][0]["head"].pop("shared_as")
    for name, content in (("adapted", adapted), ("distilled", distilled)):
        specs.write(without_dropout(content), f"{name}.yaml")
    cache, names = specs.texts / "cache", ("adapted", "distilled")
    start(1, SCRIPT, folder, cache, *(f"{name}:{name}-whole:local" for name in names))
    jobs = [f"{name}:{name}-zero{stage}:zero{stage}" for name in names for stage in STAGES]
    jobs += [f"{name}:{name}-on:{engine}" for name in names for engine in ("zero1:7", "zero2")]
    start(2, SCRIPT, folder, cache, *jobs)
    return folder


def steps(folder, name):
    lines = (folder / name / "train" / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "step"]


@pytest.mark.parametrize("engine", [*(f"zero{stage}" for stage in STAGES), "on"])
@pytest.mark.parametrize("name", ["adapted", "distilled"])
def test_losses_and_norms_are_those_of_one_process(folder, name, engine):
    found, expected = steps(folder, f"{name}-{engine}"), steps(folder, f"{name}-whole")
    assert len(found) == len(expected) == 10
    assert len({frozenset(r["losses"]) for r in expected}) > 1, "a step without one of the tasks"
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["losses"] == pytest.approx(theirs["losses"], abs=1e-5)
        assert ours["gradient_norms"] == pytest.approx(theirs["gradient_norms"], rel=1e-4)
        assert (ours["gradient_norms"]["encoder"] == 0.0) == (name == "adapted")
