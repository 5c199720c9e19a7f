"""Real trainings, killed without warning at random moments: 3 each here, ``make soak`` kills 20."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from sslm_platform.runs import load_run

PATIENCE = 120.0  # seconds for anything that must happen
ENGINES = {
    "local": ({"name": "local", "threads": 1}, 1),
    **{f"zero{stage}": ({"name": "deepspeed", "zero_stage": stage, "threads": 1}, 2) for stage in (2, 3)},
}


def kill(ranks, rng):
    """Kill the ranks in some order; a launcher would do so when the first is gone."""
    for process in rng.sample(ranks.processes, len(ranks.processes)):
        os.kill(process.pid, signal.SIGKILL)
    codes = ranks.wait(PATIENCE)
    assert codes == [-signal.SIGKILL] * len(codes), "it was over before it could be killed"


@pytest.fixture
def command(start_ranks):
    """Return a function that starts ``sslm`` in some ranks."""

    def command(argv, num_ranks, log):
        return start_ranks(["sslm", *argv], num_ranks, out=log, err=log, SSLM_LAUNCHED="1")

    return command


def last_step(folder):
    """The last step of the metrics, which are written before anything is saved."""
    try:
        lines = (folder / "train" / "metrics.jsonl").read_bytes()[-5000:].split(b"\n")[1:-1]
        return json.loads(lines[-1])["step"] if lines else 0
    except FileNotFoundError:
        return 0


def wait_until(ranks, condition, pause=0.004):
    deadline = time.monotonic() + PATIENCE
    while not condition() and ranks.are_alive:
        assert time.monotonic() < deadline
        time.sleep(pause)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_killed_at_random_moments_it_ends_with_the_same_bits(
    command, specs, tmp_path, trainings, engine, request
):
    section, num_ranks = ENGINES[engine]
    if num_ranks > 1:
        pytest.importorskip("deepspeed")
    num_kills = request.config.getoption("kills")
    rng, num_steps = random.Random(num_kills), 8 * num_kills
    content = specs.content(
        "films",
        "names",
        engine=section,
        schedule={"tokens_per_batch": 120, "max_steps": num_steps},
        evaluation={"every": 10},
        checkpoint={"every": 2, "keep_best": num_steps},
    )
    spec = specs.write(content)

    def start(name):
        argv = ("train", spec, "--out", tmp_path / name, "--cache", specs.texts / "cache")
        return command(argv, num_ranks, tmp_path / f"{name}.log")

    assert start("expected").wait(PATIENCE) == [0] * num_ranks, (tmp_path / "expected.log.0").read_text()
    out = tmp_path / "run"
    checkpoint = out / "train" / "checkpoint"

    def is_saving():
        return any((out / "train").glob(".checkpoint.*.part"))

    moments, resumed = [], 0
    for number, step in enumerate(sorted(rng.sample(range(1, num_steps - 5), num_kills))):
        for attempt in range(3):
            target, is_saved = max(step, last_step(out) + 1), checkpoint.exists()
            ranks = start("run")
            if number % 3 == 2:  # while it starts
                time.sleep(rng.uniform(0.0, 0.5))
            else:
                wait_until(ranks, lambda target=target: last_step(out) >= target)
                resumed += is_saved
            if number % 3 == 1:  # while a checkpoint is being written
                wait_until(ranks, is_saving, pause=0.0002)
                time.sleep(rng.uniform(0.0, 0.002) if attempt == 0 else 0.0)
            if number % 3 == 0:
                time.sleep(rng.uniform(0.0, 0.02))
            kill(ranks, rng)
            moments.append((step, last_step(out), is_saving()))
            if number % 3 != 1 or is_saving():
                break
    assert any(saving for *_, saving in moments), "never while a checkpoint was being written"
    resumed += checkpoint.exists()
    assert start("run").wait(PATIENCE) == [0] * num_ranks, moments
    assert (tmp_path / "run.log.0").read_text().count("continuing after step") >= resumed > 0, moments
    trainings.assert_same(out, tmp_path / "expected")


@pytest.mark.slow
@pytest.mark.distributed
def test_a_signal_to_the_launcher_and_the_death_of_a_rank(command, specs, tmp_path, trainings):
    """Two starts of ``--nproc 2``: the first is asked to stop, of the second one rank is killed."""
    psutil = pytest.importorskip("psutil")
    section, num_ranks = ENGINES["zero2"]
    pytest.importorskip("deepspeed")
    content = specs.content(
        "films",
        "names",
        engine=section,
        schedule={"tokens_per_batch": 120, "max_steps": 36},
        evaluation={"every": 18},
        checkpoint={"every": 3, "keep_best": 2},
    )
    spec, out = specs.write(content), tmp_path / "run"

    def argv(folder):
        return ("train", spec, "--out", folder, "--cache", specs.texts / "cache")

    def launch(step):
        launcher = [sys.executable, "-m", "sslm_platform", *map(str, argv(out)), "--nproc", "2"]
        process = subprocess.Popen(launcher, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + PATIENCE
        while last_step(out) < step and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return process

    launched = launch(2)
    launched.terminate()
    said = launched.communicate(timeout=PATIENCE)[1]
    assert launched.returncode == 128 + signal.SIGTERM, said
    assert "joint training: saved after step" in said
    assert said.splitlines()[-1].endswith("--nproc 2` goes on from what is saved")
    assert "Traceback" not in said

    launched = launch(last_step(out) + 5)
    ranks = {child.environ().get("RANK"): child for child in psutil.Process(launched.pid).children()}
    ranks["1"].kill()
    began = time.monotonic()
    said = launched.communicate(timeout=PATIENCE)[1]
    assert time.monotonic() - began < 60
    assert launched.returncode == 2
    assert "continuing after step" in said
    assert "rank 1 of 2 was killed by SIGKILL (out of memory?); all were ended" in said
    assert said.splitlines()[-1].endswith("the same command goes on from the last checkpoint")
    assert not any(child.is_running() for child in ranks.values())

    for folder in (out, tmp_path / "expected"):
        log = tmp_path / f"{folder.name}.log"
        assert command(argv(folder), num_ranks, log).wait(PATIENCE) == [0, 0], log
    assert "continuing after step" in (tmp_path / "run.log.0").read_text()
    trainings.assert_same(out, tmp_path / "expected")
    assert len(load_run(out).predict(["Ada Smith came to Bath"], "names@news")[0]["tags"]) == 5
    assert "done before" in launch(0).communicate(timeout=PATIENCE)[1]
