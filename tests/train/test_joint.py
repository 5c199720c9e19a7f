"""A joint training that is killed, changed, damaged or stopped early."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from sslm_platform.errors import RunError
from sslm_platform.hookspecs import hookimpl
from sslm_platform.plugins import host
from sslm_platform.train import joint
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.joint import is_done, joint_id, train_joint
from sslm_platform.train.observers import observing

SECTIONS = {
    "schedule": {"tokens_per_batch": 200, "slots_per_step": 2, "max_steps": 9},
    "evaluation": {"every": 2},
    "checkpoint": {"every": 3},
}


class Killed(Exception):
    pass


class Killer:
    """An observer of the platform's own that ends a training in the middle of a step."""

    def __init__(self, step):
        self.step = step

    @hookimpl
    def sslm_step_ended(self, record):
        if record.step == self.step:
            raise Killed


def train(corpus, folder):
    console = Console(file=io.StringIO(), width=200)
    spec = corpus.run.spec
    train_joint(corpus, RunFolder(folder), console, spec.seed, spec.engine)
    return console.file.getvalue()


def lines(folder):
    return [json.loads(line) for line in (folder / "train" / "metrics.jsonl").read_text().splitlines()]


def timeless(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def tensors(folder):
    return {
        str(file.relative_to(folder)): load_file(file)
        for name in ("model", "checkpoint")
        for file in sorted((folder / "train" / name).rglob("*.safetensors"))
    }


def assert_same_bits(mine, theirs):
    assert mine.keys() == theirs.keys()
    for file in mine:
        assert mine[file].keys() == theirs[file].keys()
        for name, value in mine[file].items():
            assert torch.equal(value, theirs[file][name]), (file, name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, texts, make_specs):
    """A corpus and the folder of its training, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    made = make_specs(folder)
    corpus = made.corpus(made.content("films", "names", **SECTIONS))
    train(corpus, folder / "run")
    return corpus, folder / "run"


@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_killed_at_any_step_it_ends_with_the_same_bits(whole, tmp_path, step):
    corpus, expected = whole
    with observing(host(), Killer(step)), pytest.raises(Killed):
        train(corpus, tmp_path)
    said = train(corpus, tmp_path)
    assert ("continuing after step 3 of 9" in said) == (3 < step <= 6)
    assert_same_bits(tensors(tmp_path), tensors(expected))
    assert timeless(lines(tmp_path)) == timeless(lines(expected))
    assert (tmp_path / "scores.json").read_text() == (expected / "scores.json").read_text()
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    "sampler",
    [
        {"name": "doremi", "options": {"reference_losses": {"*": 0.3}}},
        {"name": "dev_gap"},
        {"name": "exp3s", "options": {"rate": 0.5}},
    ],
    ids=lambda sampler: sampler["name"],
)
def test_a_sampler_that_learns_goes_on_with_what_it_knew(specs, tmp_path, sampler):
    sections = SECTIONS | {"schedule": {**SECTIONS["schedule"], "sampler": sampler}}
    corpus = specs.corpus(specs.content("films", "names", **sections))
    expected, killed = tmp_path / "expected", tmp_path / "killed"
    said = train(corpus, expected)
    with observing(host(), Killer(8)), pytest.raises(Killed):
        train(corpus, killed)
    assert "continuing after step 6 of 9" in train(corpus, killed)
    assert_same_bits(tensors(killed), tensors(expected))
    assert timeless(lines(killed)) == timeless(lines(expected))
    steps = [record for record in lines(expected) if record["kind"] == "step"]
    assert steps[0]["probabilities"] != steps[-1]["probabilities"]
    shares = [
        json.loads((folder / "train" / "done.json").read_text())["shares"] for folder in (expected, killed)
    ]
    assert shares[0] == shares[1]
    for feed, share in shares[0].items():
        assert share["realised"] == pytest.approx(sum(s["slots"].get(feed, 0) for s in steps) / 18)
        assert share["intended"] == pytest.approx(sum(s["probabilities"][feed] for s in steps) / 9)
    assert f"{next(iter(shares[0]))} " in said
    assert "slots drawn (intended)" in said


def test_metrics_hold_every_step_and_scoring_once(whole):
    _, folder = whole
    records = lines(folder)
    assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, 10))
    assert [r["step"] for r in records if r["kind"] == "evaluation"] == [2, 4, 6, 8, 9]
    for record in records:
        if record["kind"] == "evaluation":
            assert (
                set(record["scores"])
                == set(record["majority"])
                == {
                    "sentiment@film",
                    "rating@film",
                    "mlm@film",
                    "names@news",
                }
            )


def test_killed_by_the_system_it_ends_with_the_same_bits(specs, tmp_path, cli):
    """A real process, killed without warning as soon as it has saved something."""
    expected, out, cache = tmp_path / "expected", tmp_path / "run", specs.texts / "cache"
    longer = {"schedule": {"tokens_per_batch": 200, "max_steps": 60}}
    spec = specs.write(specs.content("films", "names", **SECTIONS | longer))
    assert cli("train", spec, "--out", expected, "--cache", cache)[0] == 0
    command = [sys.executable, "-m", "sslm_platform", "train", spec, "--out", out, "--cache", cache]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    state = out / "train" / "checkpoint" / "state.json"
    deadline = time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before it could be killed"
    status, _, said = cli("train", spec, "--out", out, "--cache", cache)
    assert status == 0
    assert "continuing after step" in said
    assert_same_bits(tensors(out), tensors(expected))
    assert timeless(lines(out)) == timeless(lines(expected))


def test_a_finished_training_is_not_repeated(whole):
    corpus, folder = whole
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}
    assert "done before" in train(corpus, folder)
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()} == before


@pytest.mark.parametrize("name", ["optimizer.safetensors", "encoder.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_said_and_not_used(whole, tmp_path, name):
    corpus, _ = whole
    with observing(host(), Killer(5)), pytest.raises(Killed):
        train(corpus, tmp_path)
    file = tmp_path / "train" / "checkpoint" / name
    content = bytearray(file.read_bytes())
    if name == "state.json":
        content = content[: len(content) // 2]
    else:
        content[-5] ^= 1
    file.write_bytes(content)
    wanted = "is not a whole checkpoint" if name == "state.json" else f"{name}: is damaged"
    with pytest.raises(RunError, match=wanted):
        train(corpus, tmp_path)


def test_a_checkpoint_that_lost_a_file_is_said(whole, tmp_path):
    corpus, _ = whole
    with observing(host(), Killer(5)), pytest.raises(Killed):
        train(corpus, tmp_path)
    (tmp_path / "train" / "checkpoint" / "heads.safetensors").unlink()
    with pytest.raises(RunError, match="is not a whole checkpoint"):
        train(corpus, tmp_path)


def test_killed_while_the_checkpoint_was_replaced_the_one_before_is_used(whole, tmp_path):
    corpus, expected = whole
    with observing(host(), Killer(5)), pytest.raises(Killed):
        train(corpus, tmp_path)
    checkpoint = tmp_path / "train" / "checkpoint"
    checkpoint.rename(checkpoint.with_name("checkpoint.previous"))
    assert "continuing after step 3" in train(corpus, tmp_path)
    assert_same_bits(tensors(tmp_path), tensors(expected))


def test_a_changed_spec_trains_anew_and_says_so(whole, tmp_path, specs):
    corpus, _ = whole
    with observing(host(), Killer(5)), pytest.raises(Killed):
        train(corpus, tmp_path)
    changed = specs.corpus(specs.content("films", "names", **SECTIONS), "optimizer.lr=1.0e-3")
    said = train(changed, tmp_path)
    assert "is of another spec" in said
    assert [r["step"] for r in lines(tmp_path) if r["kind"] == "step"] == list(range(1, 10))
    assert is_done(RunFolder(tmp_path), joint_id(changed, 3))
    assert not is_done(RunFolder(tmp_path), joint_id(corpus, 3))


@pytest.mark.parametrize(
    ("override", "is_same"),
    [
        ("optimizer.lr=1.0e-3", False),
        ("streams.films.tasks.mlm.objective.options.mask_prob=0.3", False),
        ("streams.names.tasks.names.metrics=[entity_f1, accuracy]", False),
        ("limit.train=50", False),
        ("encoder.dropout=0.0", False),
        ("evaluation.every=3", False),
        ("checkpoint.every=5", True),
        ("engine.threads=2", True),
        ("name=other", True),
        ("transfer=[{source_stage: none, target_stage: probe, targets: {task: names}}]", True),
    ],
)
def test_a_training_is_named_by_what_its_result_depends_on(whole, specs, override, is_same):
    changed = specs.corpus(specs.content("films", "names", **SECTIONS), override)
    assert (joint_id(changed, 3) == joint_id(whole[0], 3)) == is_same
    assert joint_id(changed, 4) != joint_id(changed, 3)


def test_it_stops_when_no_scoring_gets_better(specs, tmp_path, monkeypatch):
    values = iter([0.1, 0.5, 0.4, 0.3])
    monkeypatch.setattr(joint, "selection_value", lambda *_: next(values))
    sections = {
        "schedule": {"tokens_per_batch": 200, "max_steps": 30},
        "evaluation": {"every": 2, "patience": 2},
        "optimizer": {"lr": 5e-3, "warmup": 0.0, "decay": "constant"},
    }
    corpus = specs.corpus(specs.content("names", **sections))
    train(corpus, tmp_path / "stopped")
    records = lines(tmp_path / "stopped")
    assert [r["step"] for r in records if r["kind"] == "evaluation"] == [2, 4, 6, 8]
    assert max(r["step"] for r in records if r["kind"] == "step") == 8
    assert json.loads((tmp_path / "stopped" / "train" / "done.json").read_text())["best_step"] == 4
    monkeypatch.undo()
    train(specs.corpus(specs.content("names", **sections), "schedule.max_steps=4"), tmp_path / "four")
    kept = load_file(tmp_path / "stopped" / "train" / "model" / "encoder" / "model.safetensors")
    at_four = load_file(tmp_path / "four" / "train" / "checkpoint" / "encoder.safetensors")
    assert all(torch.equal(kept[name.removeprefix("backbone.")], value) for name, value in at_four.items())


def test_an_observer_that_raises_is_warned_of_once_and_the_run_goes_on(specs, tmp_path, caplog, monkeypatch):
    from dataclasses import replace

    heard = []

    class Stranger:
        @hookimpl
        def sslm_step_ended(self, record):
            heard.append(record.step)
            raise KeyError("tracker")

    plugins = host()
    provenance = replace(plugins.loaded[0], plugin="tracker")
    plugins.manager.register(Stranger(), "tracker")
    monkeypatch.setattr(plugins, "loaded", [*plugins.loaded, provenance])
    try:
        with caplog.at_level("WARNING", logger="sslm_platform"):
            train(specs.corpus(specs.content("names")), tmp_path)
    finally:
        plugins.manager.unregister(name="tracker")
    assert heard == [1]
    (warning,) = [r.getMessage() for r in caplog.records if "tracker" in r.getMessage()]
    assert "plugin 'tracker': sslm_step_ended raised KeyError" in warning
    assert [r["step"] for r in lines(tmp_path) if r["kind"] == "step"] == list(range(1, 7))


def test_a_folder_that_is_no_run_is_left_alone(specs, tmp_path, cli):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("...")
    status, _, said = cli("train", specs.write(specs.content("names")), "--out", tmp_path / "thesis")
    assert status == 2
    assert "is a folder, but not of a run; give another --out" in said
    assert [f.name for f in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]
