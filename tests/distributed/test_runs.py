"""Whole trainings that go on under other engines and numbers of ranks, and what learns from losses."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from transformers import AutoModel

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.distributed

SCRIPT = Path(__file__).with_name("runs.py")
STEPS, SAVED, STOPPED = 10, 4, 6
STAGES = (0, 1, 2, 3)

# name: started with, gone on with; of one process where no number of ranks is said
CHANGES = {
    "fewer": ("zero2 on 2", "zero1 on 1"),
    "more": ("zero1 on 1", "zero3 on 2"),
    "across": ("zero3 on 2", "zero0 on 2"),
    "home": ("zero3 on 2", "local on 1"),
}
SECTIONS = {
    "schedule": {"tokens_per_batch": 150, "slots_per_step": 2, "max_steps": STEPS},
    "checkpoint": {"every": SAVED},
    "evaluation": {"every": 5},
    "optimizer": {"lr": 1e-3, "clip": 0.5},
}


def spec(specs, **sections):
    encoder = specs.content()["encoder"] | {"dropout": 0.0}
    content = specs.content("films", "names", encoder=encoder, **SECTIONS | sections)
    for stream in content["streams"]:
        for task in stream["tasks"]:
            if task["head"]["name"] != "lm":
                task["head"]["options"] = {"dropout": 0.0}
    content["streams"][1]["tasks"][0]["head"]["sharded"] = True
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_specs, start):
    folder = tmp_path_factory.mktemp("runs")
    specs = make_specs(folder)
    specs.write(spec(specs), "plain.yaml")
    learning = SECTIONS["schedule"] | {"sampler": {"name": "exp3s", "options": {"rate": 0.5}}}
    specs.write(spec(specs, schedule=learning, balancer={"name": "famo"}), "learning.yaml")
    jobs = {"1": [[], []], "2": [[], []]}
    for name, (first, then) in CHANGES.items():
        engine, _, ranks = first.partition(" on ")
        jobs[ranks][0].append(f"plain:{name}:{engine}:{STOPPED}")
        engine, _, ranks = then.partition(" on ")
        jobs[ranks][1].append(f"plain:{name}:{engine}")
    cache = specs.texts / "cache"
    whole = ["plain:whole:local", "learning:learn-local:local"]
    learn = [f"learning:learn-{stage}:zero{stage}" for stage in STAGES]
    start(1, SCRIPT, folder, cache, *whole, *jobs["1"][0])
    start(2, SCRIPT, folder, cache, *jobs["2"][0], *jobs["2"][1], *learn)
    start(1, SCRIPT, folder, cache, *jobs["1"][1])
    return folder


def steps(folder, name, kind="step"):
    lines = (folder / name / "train" / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


@pytest.mark.parametrize("name", CHANGES)
def test_losses_go_on_as_if_nothing_had_changed(folder, name):
    assert f"continuing after step {SAVED} of {STEPS}" in (folder / f"{name}.said").read_text()
    found, expected = steps(folder, name), steps(folder, "whole")
    assert [r["step"] for r in found] == list(range(1, STEPS + 1))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["losses"] == pytest.approx(theirs["losses"], abs=1e-5)
        assert ours["gradient_norms"] == pytest.approx(theirs["gradient_norms"], rel=1e-4)
        for exact in ("slots", "num_tokens", "num_padded_tokens", "learning_rate", "weights"):
            assert ours[exact] == theirs[exact]


@pytest.mark.parametrize("name", CHANGES)
def test_evaluations_go_on_as_if_nothing_had_changed(folder, name):
    found, expected = steps(folder, name, "evaluation"), steps(folder, "whole", "evaluation")
    assert [record["step"] for record in found] == [record["step"] for record in expected] == [5, STEPS]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["selection"] == pytest.approx(theirs["selection"], abs=1e-3)
        assert ours["majority"] == theirs["majority"]


@pytest.mark.parametrize("name", CHANGES)
def test_transformers_loads_what_is_saved(folder, name):
    def weights(run):
        return AutoModel.from_pretrained(
            folder / run / "train" / "model" / "encoder", output_loading_info=True
        )

    ours, said = weights(name)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    expected = weights("whole")[0].state_dict()
    for key, tensor in ours.state_dict().items():
        assert tensor.norm().item() == pytest.approx(expected[key].norm().item(), rel=1e-4, abs=1e-4), key


@pytest.mark.parametrize("name", CHANGES)
def test_a_sharded_head_is_saved_whole(folder, name):
    def weights(run):
        with safe_open(folder / run / "train/model/heads/names@news/head.safetensors", "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)

    ours, expected = weights(name), weights("whole")
    assert ours.keys() == expected.keys()
    for key, tensor in ours.items():
        assert tensor.shape == expected[key].shape
        assert tensor.norm().item() == pytest.approx(expected[key].norm().item(), rel=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_what_learns_from_losses_learns_the_same(folder, stage):
    found, expected = steps(folder, f"learn-{stage}"), steps(folder, "learn-local")
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["slots"] == theirs["slots"]
        for key in ("losses", "weights", "probabilities"):
            assert ours[key] == pytest.approx(theirs[key], abs=1e-5)
    first, last = expected[0], expected[-1]
    assert first["probabilities"] != pytest.approx(last["probabilities"], abs=1e-3), "nothing was learned"
    assert len({json.dumps(record["weights"]) for record in expected}) > 2
