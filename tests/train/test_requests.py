"""When a training saves and stops, and that all ranks do so after the same step."""

from __future__ import annotations

import json
import os
import signal

import pytest

from sslm_platform.hookspecs import hookimpl
from sslm_platform.plugins import host
from sslm_platform.signals import Pending
from sslm_platform.train import joint
from sslm_platform.train.observers import observing
from sslm_platform.train.requests import Requests

NUMBERS = [signal.SIGTERM, signal.SIGINT]


class Sender:
    """Sends this process a signal after a step, or when a cell is measured."""

    def __init__(self, number, step=None):
        self.number = number
        self.step = step
        self.cells = []

    @hookimpl
    def sslm_step_ended(self, record):
        if record.step == self.step:
            os.kill(os.getpid(), self.number)

    @hookimpl
    def sslm_cell_finished(self, record):
        self.cells.append(record.id)
        if self.step is None:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(("step", "saved"), [(4, 4), (7, 8), (9, 9)])  # scorings follow steps 4, 8 and 9
def test_a_signal_saves_after_the_step_and_the_command_that_is_named_goes_on(
    whole, specs, cli, tmp_path, trainings, number, step, saved
):
    spec = specs.write(specs.content("films", "names", **trainings.sections))
    command = ("train", spec, "--out", tmp_path / "run", "--cache", specs.texts / "cache")
    with observing(host(), Sender(number, step)):
        status, _, said = cli(*command, "--restart")
    assert status == 128 + number
    assert f"joint training: saved after step {saved} of 9" in said
    words = " ".join(map(str, command))
    assert said.endswith(f"stopped by {number.name}; `sslm {words}` goes on from what is saved\n")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "running"
    status, _, said = cli(*command)
    assert status == 0
    assert f"continuing after step {saved} of 9" in said
    trainings.assert_same(tmp_path / "run", whole[1])


@pytest.mark.parametrize("number", NUMBERS)
def test_between_cells_a_signal_stops_at_once_and_what_is_measured_stays(specs, cli, tmp_path, number):
    block = {"source_stage": "none", "target_stage": "probe", "targets": "all"}
    spec = specs.write(specs.content("names", "pairs", transfer=[block]))
    command = ("transfer", "run", spec, "--out", tmp_path / "run", "--cache", specs.texts / "cache")
    sender = Sender(number)
    with observing(host(), sender):
        status, _, said = cli(*command)
    assert status == 128 + number
    assert f"stopped by {number.name}; `sslm transfer run " in said
    (finished,) = (tmp_path / "run").rglob("cells/*/record.json")
    assert json.loads(finished.read_text())["status"] == "done"
    assert sender.cells == [finished.parent.name]
    status, _, said = cli(*command)
    assert status == 0
    assert "1 done before" in said


def test_a_checkpoint_is_written_when_its_minutes_are_over(specs, tmp_path, trainings, monkeypatch):
    steps, save = [], joint.save_checkpoint

    def saved(folder, content, state, *others):
        steps.append(state.step)
        save(folder, content, state, *others)

    monkeypatch.setattr(joint, "save_checkpoint", saved)
    sections = {"checkpoint": {"every": None, "minutes": 1e-9}, "schedule": {"max_steps": 4}}
    trainings.train(specs.corpus(specs.content("names", **sections)), tmp_path)
    assert steps == [1, 2, 3, 4]


def test_rank_0s_clock_counts_and_a_signal_to_any_rank():
    requests = [Requests(Pending(), 1.0, rank) for rank in (0, 1)]
    for request in requests:
        request._saved -= 61
    assert [request.asked()["save"] for request in requests] == [1.0, 0.0]
    requests[0].saved()
    requests[1].pending.number = signal.SIGTERM
    asked = [request.asked() for request in requests]
    assert asked[0].keys() == asked[1].keys()  # they are summed in this order
    requests[0].granted = {key: sum(a[key] for a in asked) for key in asked[0]}
    assert (requests[0].save, requests[0].stop) == (False, signal.SIGTERM)
