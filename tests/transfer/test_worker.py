"""Workers on one folder: nothing done twice, nothing lost when one is killed."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from sslm_platform.errors import SpecError
from sslm_platform.report.records import read_cells, read_trainings
from sslm_platform.runs import open_run
from sslm_platform.train.folder import RunFolder, write_run
from sslm_platform.transfer import measure as measuring
from sslm_platform.transfer.claims import Claims
from sslm_platform.transfer.runner import Work
from sslm_platform.transfer.units import PRETRAINED, Shard, units_of
from sslm_platform.transfer.worker import is_finished

SENTIMENT = {"task": "sentiment"}
BLOCKS = [
    {"source_stage": "none", "target_stage": "probe", "targets": SENTIMENT},
    {"source_stage": "full", "target_stage": "zero_shot", "sources": SENTIMENT, "targets": SENTIMENT},
    {"source_stage": "full", "target_stage": "probe", "sources": {"task": ["rating", "names", "fits"]},
     "targets": SENTIMENT},
]  # fmt: skip


@pytest.fixture
def opened(specs, encoder_folder, texts, tmp_path):
    """Return a function that opens the run, as often as one likes."""

    def opened(*overrides, blocks=BLOCKS, encoder=encoder_folder):
        spec = specs.write(specs.content(encoder=encoder, transfer=blocks))
        console = Console(file=io.StringIO(), width=200)
        return open_run(
            spec, out=tmp_path / "run", cache=texts / "cache", overrides=overrides, console=console
        )

    return opened


def said(run):
    return run.console.file.getvalue()


def records(run):
    return read_cells(run.path / "transfer")


def test_a_unit_that_another_worker_holds_is_left_alone_until_it_is_silent(opened, monkeypatch):
    run = opened()
    write_run(RunFolder(run.path), run.corpus)
    claims = Claims(run.path / "transfer" / "claims", 60)
    claims.owner["machine"] = "another"
    claim = claims.take(PRETRAINED)
    finished = []

    def later(seconds):  # the worker waits: the other one falls silent
        finished.append({cell for cell, record in records(run).items() if record.status == "done"})
        os.utime(claim.path, (1, 1))

    monkeypatch.setattr("sslm_platform.transfer.worker.time.sleep", later)
    run.transfer(Work(Shard(1, 2), stale_after=60))
    (pretrained,) = [unit for unit in units_of(run.plan_transfer()) if unit.id == PRETRAINED]
    assert len(finished) == 1
    assert not finished[0] & {cell.id for cell in pretrained.cells}
    assert finished[0]  # the other units were done first
    assert "waiting for pretrained" in said(run)
    assert {record.status for record in records(run).values()} == {"done"}
    assert not claims.holds(claim)


def test_what_fails_is_tried_once_by_a_run_and_again_by_the_next(opened, monkeypatch):
    tries = []
    answer = measuring.EncoderCells._probe

    def fails(self, cell):
        tries.append(cell.id)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(measuring.EncoderCells, "_probe", fails)
    run = opened(blocks=BLOCKS[:1])
    run.transfer()
    assert len(tries) == 2
    run.transfer()
    assert len(tries) == 4
    monkeypatch.setattr(measuring.EncoderCells, "_probe", answer)
    run.transfer()
    assert {record.status for record in records(run).values()} == {"done"}


def test_a_holder_that_was_overtaken_stops_after_its_cell(opened, monkeypatch):
    run = opened(blocks=BLOCKS[:1])
    measured, probe = [], measuring.EncoderCells._probe

    def overtaken(self, cell):
        if not measured:
            claims = Claims(run.path / "transfer" / "claims")
            assert claims.make(PRETRAINED, 1) is not None
        measured.append(cell.id)
        return probe(self, cell)

    monkeypatch.setattr(measuring.EncoderCells, "_probe", overtaken)
    monkeypatch.setattr("sslm_platform.transfer.worker.time.sleep", _stop)
    with pytest.raises(_Waits):
        run.transfer()
    assert len(measured) == 1


def test_a_holder_that_was_overtaken_does_not_say_that_its_cell_failed(opened, monkeypatch):
    run = opened(blocks=BLOCKS[:1])

    def overtaken(self, cell):
        assert Claims(run.path / "transfer" / "claims").make(PRETRAINED, 1) is not None
        raise RuntimeError("stale file handle")

    monkeypatch.setattr(measuring.EncoderCells, "_probe", overtaken)
    monkeypatch.setattr("sslm_platform.transfer.worker.time.sleep", _stop)
    with pytest.raises(_Waits):
        run.transfer()
    assert "failed" not in {record.status for record in records(run).values()}


class _Waits(Exception):
    pass


def _stop(seconds):
    raise _Waits


def start(run, shard, *more):
    argv = ["-m", "sslm_platform", "transfer", "run", str(run.path / "spec.yaml"), "--out", str(run.path)]
    argv += ["--cache", str(run._cache), "--shard", shard, *more]
    return subprocess.Popen([sys.executable, *argv], stderr=subprocess.PIPE, text=True)


@pytest.mark.distributed
def test_two_workers_share_the_work_and_survive_the_death_of_one(opened):
    """One is killed in the middle of a training; the other one overtakes its claim and does all once."""
    run = opened("schedule.max_steps=60")
    alone = opened("schedule.max_steps=60").plan_transfer()
    folder = RunFolder(run.path)
    write_run(folder, run.corpus)
    units = units_of(alone)
    victim = start(run, f"2/{len(units)}")  # begins with the first training
    deadline = time.monotonic() + 60
    while not list(folder.transfer.glob(f"claims/{units[1].id}/0.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    before = {path: path.stat().st_mtime_ns for path in folder.transfer.glob("cells/*/record.json")}
    workers = [start(run, "1/2"), start(run, "2/2")]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    assert all(is_finished(folder, cell) for cell in alone.cells.values())
    for path, changed in before.items():
        assert path.stat().st_mtime_ns == changed
    owners = {}
    for unit in units:
        claims = sorted(folder.transfer.glob(f"claims/{unit.id}/*.json"))
        contents = [json.loads(path.read_text()) for path in claims]
        killed = [content for content in contents if content["pid"] == victim.pid]
        assert len(contents) == 1 + len(killed)  # done once, or once more than killed
        owners.setdefault(contents[-1]["pid"], []).append(unit.id)
    assert set(owners) == {worker.pid for worker in workers}  # both had a part


@pytest.mark.distributed
def test_processes_measure_what_one_process_does(opened, tmp_path):
    """Which process trains and measures changes no figure."""
    run = opened("executor.name=processes", "executor.options.workers=2", "schedule.max_steps=3")
    run.transfer()
    assert "[1] cell" in said(run)
    assert "[2] cell" in said(run)
    shared = records(run)
    alone = opened("schedule.max_steps=3")
    alone.path = tmp_path / "alone"
    alone.transfer()
    expected = records(alone)
    assert set(shared) == set(expected)
    for cell, record in expected.items():
        assert shared[cell].status == "done"
        assert shared[cell].scores == record.scores
        assert shared[cell].resamples == record.resamples
    assert "0 cells to measure" in said(run).splitlines()[-1]  # the parent found nothing left


def test_a_run_may_begin_while_another_worker_writes_its_first_file(opened):
    run = opened(blocks=[])
    run.path.mkdir()
    (run.path / ".spec.yaml.0123.part").touch()
    write_run(RunFolder(run.path), run.corpus)
    assert (run.path / "spec.yaml").exists()


@pytest.mark.distributed
@pytest.mark.slow
def test_a_source_is_trained_in_ranks_and_its_cells_are_measured_here(opened, encoder_folder, tmp_path):
    """Two ranks of DeepSpeed end with the weights of one process, up to rounding."""
    encoder = shutil.copytree(encoder_folder["path"], tmp_path / "encoder")
    config = json.loads((encoder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # ranks draw other units
    (encoder / "config.json").write_text(json.dumps(config))
    rest = {"blocks": [BLOCKS[2] | {"sources": {"task": "mlm"}}]}
    rest["encoder"] = encoder_folder | {"path": str(encoder)}
    run = opened("engine.name=deepspeed", "engine.zero_stage=2", "schedule.max_steps=4", **rest)
    write_run(RunFolder(run.path), run.corpus)
    worker = start(run, "1/1", "--nproc", "2")
    _, errors = worker.communicate(timeout=200)
    assert worker.returncode == 0, errors
    found = {record.key.protocol: record for record in records(run).values() if record.status == "done"}
    assert "full/probe" in found, errors
    (training,) = read_trainings(run.path / "transfer").values()
    assert training.num_steps == 4
    alone = opened("schedule.max_steps=4", **rest)
    alone.path = run.path.with_name("alone")
    alone.transfer()
    mine, theirs = (
        load_file(next((path / "transfer" / "trainings").glob("*/model/encoder/*.safetensors")))
        for path in (run.path, alone.path)
    )
    assert set(mine) == set(theirs)
    for name, value in theirs.items():
        if "key.bias" not in name:  # its true gradient is zero, and Adam magnifies rounding
            torch.testing.assert_close(mine[name], value, atol=2e-3, rtol=2e-3)


def test_several_ranks_need_an_engine_for_them(opened):
    with pytest.raises(SpecError, match="several need engine"):
        opened().transfer(Work(num_processes=2))
