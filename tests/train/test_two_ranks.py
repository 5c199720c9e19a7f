"""The command that starts two processes, from a spec to a model that answers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sslm_platform.runs import load_run, read_scores

pytest.importorskip("deepspeed")


def steps(folder):
    records = [json.loads(line) for line in (folder / "train" / "metrics.jsonl").read_text().splitlines()]
    return [r for r in records if r["kind"] == "step"], [r for r in records if r["kind"] == "evaluation"]


def started(spec, out, cache):
    """Run ``sslm train --nproc 2`` in a process of its own; return what it said."""
    command = [sys.executable, "-m", "sslm_platform", "train", spec, "--nproc", "2", "--out", out]
    done = subprocess.run([*command, "--cache", cache], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.distributed
def test_two_ranks_under_zero_2_train_what_one_process_trains(cli, specs, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    content = specs.content(
        "films",
        "names",
        encoder=specs.content()["encoder"] | {"dropout": 0.0},
        schedule={"tokens_per_batch": 150, "slots_per_step": 2, "max_steps": 6},
        evaluation={"every": 3},
    )
    for stream in content["streams"]:
        for task in stream["tasks"]:
            if task["head"]["name"] != "lm":
                task["head"]["options"] = {"dropout": 0.0}
    local = specs.write(content, "local.yaml")
    sharded = specs.write(
        content | {"engine": {"name": "deepspeed", "zero_stage": 2, "threads": 1}}, "sharded.yaml"
    )
    cache = specs.texts / "cache"
    assert cli("train", local, "--out", tmp_path / "one", "--cache", cache)[0] == 0
    said = started(sharded, tmp_path / "two", cache)
    assert "joint training: step 6" in said
    (one, one_scored), (two, two_scored) = steps(tmp_path / "one"), steps(tmp_path / "two")
    assert len(one) == len(two) == 6
    for mine, theirs in zip(one, two, strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-5)
        assert theirs["losses"] == pytest.approx(mine["losses"], rel=1e-5)
        for exact in ("step", "slots", "num_tokens", "num_padded_tokens", "learning_rate", "weights"):
            assert theirs[exact] == mine[exact]
    assert [r["step"] for r in one_scored] == [r["step"] for r in two_scored] == [3, 6]
    for mine, theirs in zip(one_scored, two_scored, strict=True):
        assert theirs["selection"] == pytest.approx(mine["selection"], abs=1e-3)
        assert theirs["majority"] == mine["majority"]
    for mine, theirs in zip(read_scores(tmp_path / "one"), read_scores(tmp_path / "two"), strict=True):
        assert (mine.task, mine.num_test) == (theirs.task, theirs.num_test)
    answers = load_run(tmp_path / "two").predict(["Ada Smith came to Bath"], "names@news")
    assert len(answers[0]["tags"]) == 5
    assert "done before" in started(sharded, tmp_path / "two", cache)
    assert steps(tmp_path / "two")[0] == two
