"""Claims: one holder at most, whoever dies, stops or races; time is the shared folder's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from sslm_platform import files
from sslm_platform.errors import RunError
from sslm_platform.transfer.claims import Claims
from sslm_platform.transfer.owner import _started, is_gone, this_process

T = 10.0


class TimedClaims(Claims):
    """Claims on a clock that the test moves."""

    time = 1000.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, T)
        self.owner["machine"] = self.owner["token"]  # of another machine: only its silence can tell

    def now(self) -> float:
        return TimedClaims.time

    def touch(self, path: Path) -> None:
        os.utime(path, (TimedClaims.time, TimedClaims.time))

    def make(self, unit, number):
        claim = super().make(unit, number)
        if claim is not None:
            self.touch(claim.path)
        return claim


def test_a_unit_has_one_holder_until_it_is_released(tmp_path):
    first, second = TimedClaims(tmp_path), TimedClaims(tmp_path)
    claim = first.take("u")
    assert claim is not None
    assert second.take("u") is None
    assert first.take("u") is None  # not even twice by one worker
    assert second.take("v") is not None
    first.release(claim)
    again = second.take("u")
    assert again is not None
    assert not first.holds(claim)
    assert second.holds(again)


def test_a_claim_without_heartbeat_is_overtaken_and_its_owner_learns_it(tmp_path):
    first, second = TimedClaims(tmp_path), TimedClaims(tmp_path)
    claim = first.take("u")
    TimedClaims.time += T - 1
    assert second.take("u") is None
    first.touch(claim.path)
    TimedClaims.time += T - 1
    assert second.take("u") is None
    TimedClaims.time += 1
    assert second.take("u") is not None
    assert not first.holds(claim)


def test_who_decided_too_slowly_overtakes_nobody(tmp_path):
    """Two workers see a stale claim; the slower one must not overtake the faster one's."""
    dead, fast, slow = (TimedClaims(tmp_path) for _ in range(3))
    dead.take("u")
    TimedClaims.time += 2 * T
    seen = slow.look("u")
    assert fast.take("u") is not None
    assert slow.make("u", seen) is None


def test_a_lost_reply_of_the_file_server_does_not_lose_the_claim(tmp_path, monkeypatch):
    """NFS repeats a request whose reply was lost, and then says that the name is taken: by ourselves."""
    link = os.link

    def reply_lost(source, target):
        link(source, target)
        raise FileExistsError(target)

    monkeypatch.setattr(files.os, "link", reply_lost)
    claims = TimedClaims(tmp_path)
    assert claims.take("u") is not None


def test_a_folder_without_hard_links_is_refused(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files.os, "link", refuse)
    with pytest.raises(RunError, match="a shared folder with hard links"):
        Claims(tmp_path).take("u")


def test_heartbeats_come_while_the_work_lasts_and_the_end_releases(tmp_path):
    first, second = Claims(tmp_path, stale_after=1.0), Claims(tmp_path, stale_after=1.0)
    claim = first.take("u")
    made = claim.path.stat().st_mtime_ns
    with first.beating(claim):
        deadline = time.monotonic() + 30
        while claim.path.stat().st_mtime_ns == made and time.monotonic() < deadline:
            time.sleep(0.02)
        assert claim.path.stat().st_mtime_ns > made
        assert second.take("u") is None
    assert second.take("u") is not None


def test_an_error_releases_too(tmp_path):
    claims = Claims(tmp_path)
    claim = claims.take("u")
    with pytest.raises(KeyError), claims.beating(claim):
        raise KeyError
    assert claims.take("u") is not None


def test_the_time_is_that_of_the_folder(tmp_path, monkeypatch):
    """A worker whose own clock is hours off sees a fresh claim as fresh."""
    claim = Claims(tmp_path).take("u")
    owner = json.loads(claim.path.read_text()) | {"machine": "another"}
    claim.path.write_text(json.dumps(owner))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    claims = Claims(tmp_path, stale_after=60.0)
    assert claims.take("u") is None
    assert abs(claims.now() - claim.path.stat().st_mtime) < 30
    claims.close()
    assert not list((tmp_path / "clocks").iterdir())


def test_this_process_is_not_gone_and_a_process_elsewhere_may_be_there():
    me = this_process()
    assert not is_gone(me)
    assert not is_gone(me | {"machine": "another", "pid": 1 << 22})
    assert not is_gone({})


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="only Linux tells who runs")
def test_a_number_that_another_process_has_now_is_gone():
    me = this_process()
    assert is_gone(me | {"started": "1"})
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        other = me | {"pid": process.pid, "started": _started(process.pid)}
        assert not is_gone(other)
        process.kill()
        while not is_gone(other):  # a zombie until it is waited for: gone all the same
            time.sleep(0.01)


RACE = """
import sys, time
from pathlib import Path
from sslm_platform.transfer.claims import Claims
folder, start = Path(sys.argv[1]), float(sys.argv[2])
claims = Claims(folder, 60)
time.sleep(max(0, start - time.time()))
print(*[unit for unit in map(str, range(50)) if claims.take(unit)], flush=True)
time.sleep(60)
"""


@pytest.mark.distributed
def test_of_racing_processes_each_unit_goes_to_one_and_killed_ones_give_theirs_up(tmp_path):
    argv = [sys.executable, "-c", RACE, str(tmp_path), str(time.time() + 1.5)]
    workers = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        won = [worker.stdout.readline().split() for worker in workers]
        assert sorted(unit for units in won for unit in units) == sorted(map(str, range(50)))
        claims = Claims(tmp_path, 60)
        assert not any(claims.take(str(unit)) for unit in range(50))
        workers[0].send_signal(signal.SIGKILL)
        workers[0].wait()
        if claims.owner["machine"]:
            assert [str(unit) for unit in range(50) if claims.take(str(unit))] == sorted(won[0], key=int)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


class Workers(RuleBasedStateMachine):
    """Workers that claim, beat, stall, die and release in any order.

    A worker that is not stalled beats before the time moves on, as its thread would.
    """

    workers = Bundle("workers")
    looks = Bundle("looks")

    @initialize()
    def start(self):
        self.folder = tempfile.TemporaryDirectory()
        TimedClaims.time = 1000.0
        self.held: dict[str, list] = {"a": [], "b": []}
        self.stalled: set[Claims] = set()

    def teardown(self):
        """In the end, what no living worker holds can be had after a while."""
        self.pass_time(T)
        for unit, pairs in self.held.items():
            beating = any(worker not in self.stalled for worker, _ in pairs)
            taken = TimedClaims(Path(self.folder.name)).look(unit) is None
            assert taken == beating
        self.folder.cleanup()

    @rule(target=workers)
    def join(self):
        return TimedClaims(Path(self.folder.name))

    @rule(target=looks, worker=workers, unit=st.sampled_from("ab"))
    def look(self, worker, unit):
        return worker, unit, worker.look(unit)

    @rule(look=looks)
    def make(self, look):
        """Claim by what was seen some time ago."""
        worker, unit, number = look
        if number is None or worker in self.stalled:
            return
        claim = worker.make(unit, number)
        if claim is not None:
            for other, theirs in self.held[unit]:
                assert not other.holds(theirs), "two holders"
                assert other in self.stalled, "a beating claim was overtaken"
            self.held[unit] = [(worker, claim)]

    @rule(worker=workers)
    def stall(self, worker):
        self.stalled.add(worker)

    @rule(worker=workers)
    def wake(self, worker):
        self.stalled.discard(worker)

    @rule(worker=workers, unit=st.sampled_from("ab"))
    def release(self, worker, unit):
        for owner, claim in list(self.held[unit]):
            if owner is worker and worker not in self.stalled and worker.holds(claim):
                worker.release(claim)
                self.held[unit].remove((owner, claim))

    @rule(seconds=st.sampled_from([1.0, T / 2, T]))
    def pass_time(self, seconds):
        TimedClaims.time += seconds
        for pairs in self.held.values():
            for worker, claim in pairs:
                if worker not in self.stalled:
                    worker.touch(claim.path)

    @invariant()
    def one_holder(self):
        for unit in "ab":
            if hasattr(self, "held"):
                assert sum(worker.holds(claim) for worker, claim in self.held[unit]) <= 1


Workers.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestWorkers = Workers.TestCase
