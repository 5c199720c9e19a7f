"""Worker processes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from threading import Thread
from typing import IO

from sslm_platform.api import Job


class Processes:
    """Starts workers, passes on what they say, and does what dead ones left."""

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers

    def run(self, job: Job) -> None:
        """Get all units done by at most as many workers as there are units."""
        count = min(self.num_workers, job.num_units)
        if count > 1:
            self._run_workers(job, count)
        job.work()

    def _run_workers(self, job: Job, count: int) -> None:
        workers: list[subprocess.Popen[str]] = []
        listeners: list[Thread] = []
        try:
            for index in range(count):
                workers.append(self._start(job, index, count))
                listeners.append(_listen(workers[-1].stderr, job, index + 1))
            codes = [worker.wait() for worker in workers]
        finally:
            for worker in workers:
                worker.terminate()
            for worker, listener in zip(workers, listeners, strict=False):
                worker.wait()
                listener.join()
        for index, code in enumerate(codes, 1):
            if code:
                job.say(f"worker {index} ended with code {code}; what it left is done here")

    def _start(self, job: Job, index: int, count: int) -> subprocess.Popen[str]:
        command = job.worker(index, count)
        threads = {"OMP_NUM_THREADS": str(job.threads(count))}
        return subprocess.Popen(
            [sys.executable, *command.argv],
            env=threads | dict(os.environ) | dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )


def _listen(stream: IO[str] | None, job: Job, worker: int) -> Thread:
    thread = Thread(target=_pass_on, args=(stream, job, worker), daemon=True)
    thread.start()
    return thread


def _pass_on(stream: IO[str] | None, job: Job, worker: int) -> None:
    assert stream is not None
    with stream:
        for line in stream:
            job.say(f"[{worker}] {line.rstrip()}")
