"""Workers as tasks of Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import ray

from sslm_platform.api import Job

if TYPE_CHECKING:
    from sslm_ray import RayOptions

LAST_WORDS = 2000  # characters of what a worker wrote, when it failed


class RayExecutor:
    """Starts one task for each worker; the workers share the work through the run's folder."""

    def __init__(self, options: RayOptions) -> None:
        self.options = options

    def run(self, job: Job) -> None:
        """Get all units done, at last by this process: a machine of the cluster may have gone."""
        joined = not ray.is_initialized()
        if joined:
            ray.init(address=self.options.address, log_to_driver=False, include_dashboard=False)
        try:
            self._run_workers(job, min(self.options.workers, job.num_units))
        finally:
            if joined:
                ray.shutdown()
        job.work()

    def _run_workers(self, job: Job, count: int) -> None:
        task = ray.remote(num_cpus=self.options.cpus, num_gpus=self.options.gpus, max_retries=1)(_work)
        numbers = {}
        for index in range(count):
            command = job.worker(index, count)
            environment = {"OMP_NUM_THREADS": str(self.options.cpus), **command.environment}
            numbers[task.remote(command.argv, environment)] = index + 1
        waiting = list(numbers)
        while waiting:
            (done,), waiting = ray.wait(waiting)
            self._say_how_it_ended(job, numbers[done], done)

    @staticmethod
    def _say_how_it_ended(job: Job, worker: int, task: ray.ObjectRef) -> None:
        try:
            code, words = ray.get(task)
        except ray.exceptions.RayError as error:
            code, words = 1, str(error)
        if code:
            job.say(f"worker {worker} ended with code {code}; what it left is done by others: {words}")
        else:
            job.say(f"worker {worker} has nothing left to do")


def _work(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run one worker to its end, on a machine of the cluster; return its code and its last words.

    It is a process of its own: Ray's would keep the threads and the memory of the first task.
    """
    import os
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, *argv],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.returncode, done.stderr[-LAST_WORDS:]
