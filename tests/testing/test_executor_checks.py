"""Every check of executors fails on one that breaks its rule."""

import os
import subprocess
import sys

import pytest

from sslm_platform.testing import executor_checks as checks
from sslm_platform.testing.cases import Case
from sslm_platform.types import ExecutorDef


def start(job, index, count):
    command = job.worker(index, count)
    return subprocess.Popen(
        [sys.executable, *command.argv], env={**os.environ, **command.environment}, stderr=subprocess.DEVNULL
    )


class Forgets:
    """Trusts its workers."""

    def run(self, job):
        start(job, 0, 1).wait()


class Impatient:
    """Does not wait for them."""

    started = None

    def run(self, job):
        worker = start(job, 0, 1)
        while not job._names("started"):
            assert worker.poll() is None
        job.work()
        worker.wait()


class SameShare:
    def run(self, job):
        for worker in [start(job, 0, 2) for _ in range(2)]:
            worker.wait()
        job.work()


class OnlyAsks:
    def run(self, job):
        job.worker(0, 1)
        job.work()


class Strict:
    def run(self, job):
        if start(job, 0, 1).wait():
            return
        job.work()


TWINS = [
    (checks.check_work_is_done_here_in_the_end, Forgets, "without job.work"),
    (checks.check_work_is_done_here_in_the_end, Impatient, "still at work"),
    (checks.check_every_started_worker_has_its_own_share, SameShare, "are numbered"),
    (checks.check_every_started_worker_has_its_own_share, OnlyAsks, "not started"),
    (checks.check_dead_workers_do_not_end_the_run, Strict, "had failed"),
]


@pytest.mark.distributed
@pytest.mark.parametrize(("check", "broken", "message"), TWINS, ids=lambda v: getattr(v, "__name__", None))
def test_check_fails_on_a_broken_component(check, broken, message):
    with pytest.raises(AssertionError, match=message):
        check(Case(ExecutorDef("broken", lambda options: broken())))


def test_every_check_has_a_twin():
    assert {check for check, *_ in TWINS} == set(checks.EXECUTOR_CHECKS)
