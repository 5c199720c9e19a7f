"""Checks of executors."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sslm_platform.jobs import WorkerCommand
from sslm_platform.testing.cases import Case
from sslm_platform.types import ExecutorDef

NUM_UNITS = 3


class _Rehearsal:
    """A job whose workers leave a file when they start and another when they end.

    Args:
        folder: where they leave them.
        code: the workers' exit code; another one than 0 ends them before the second file.
    """

    def __init__(self, folder: Path, code: int = 0) -> None:
        self.folder = folder
        self.code = code
        self.num_units = NUM_UNITS
        self.at_work: list[set[str]] = []
        self.shares: list[tuple[int, int]] = []
        self.started: set[str] = set()

    def work(self) -> None:
        """Note which workers are still at work."""
        self.started = self._names("started")
        self.at_work.append(self.started - self._names("ended"))

    def worker(self, index: int, count: int) -> WorkerCommand:
        """Return a command that pretends to work for a moment."""
        self.shares.append((index, count))
        end = f"(f / 'ended-{index}').touch()" if self.code == 0 else f"raise SystemExit({self.code})"
        program = (
            "import os, time; from pathlib import Path;"
            f" f = Path({str(self.folder)!r}); assert os.environ['REHEARSAL'] == 'yes';"
            f" (f / 'started-{index}').touch(); time.sleep(0.5); {end}"
        )
        return WorkerCommand(("-c", program), {"REHEARSAL": "yes"})

    def threads(self, num_workers: int) -> int:
        """Return 1."""
        return 1

    def say(self, text: str) -> None:
        """Take no notice."""

    def _names(self, event: str) -> set[str]:
        return {path.name.removeprefix(f"{event}-") for path in self.folder.glob(f"{event}-*")}


def check_work_is_done_here_in_the_end(case: Case[ExecutorDef]) -> None:
    """``run`` ends with ``job.work()``, when no worker is at work any more."""
    job = _run(case, 0)
    assert job.at_work, "run() returned without job.work(): what a dead worker leaves is not done"
    assert not job.at_work[-1], "run() called job.work() last while workers were still at work"


def check_every_started_worker_has_its_own_share(case: Case[ExecutorDef]) -> None:
    """Workers get the numbers 0 to count - 1 of one count, the command's variables, and are started."""
    job = _run(case, 0)
    counts = {count for _, count in job.shares}
    assert len(counts) <= 1, f"workers were told several counts: {sorted(counts)}"
    expected = [(index, count) for count in counts for index in range(count)]
    assert sorted(job.shares) == expected, f"workers are numbered {sorted(job.shares)}, not {expected}"
    assert job.started == {str(index) for index, _ in expected}, "a worker was asked for and not started"


def check_dead_workers_do_not_end_the_run(case: Case[ExecutorDef]) -> None:
    """Workers that end with an error leave their work to ``job.work()``."""
    job = _run(case, 3)
    assert job.at_work, "run() returned without job.work() after its workers had failed"


EXECUTOR_CHECKS = (
    check_work_is_done_here_in_the_end,
    check_every_started_worker_has_its_own_share,
    check_dead_workers_do_not_end_the_run,
)


def _run(case: Case[ExecutorDef], code: int) -> _Rehearsal:
    with tempfile.TemporaryDirectory() as folder:
        job = _Rehearsal(Path(folder), code)
        case.definition.build(case.parsed_options()).run(job)
        return job
