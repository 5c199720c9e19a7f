"""The work of a transfer run, and what gets it done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How to start one worker: ``python ARGV``, with these variables on top of the environment.

    The paths in it are absolute; on another machine they must name the same folders.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]


class Job(Protocol):
    """The work of a transfer run, as an executor sees it.

    Workers share it through claims in the run's folder: however many there are, and whichever of them die,
    each unit (a source training with its cells) is done once.
    """

    num_units: int

    def work(self) -> None:
        """Do in this process what no other worker does; return when all units are done."""
        ...

    def worker(self, index: int, count: int) -> WorkerCommand:
        """Return how to start one of ``count`` workers, ``index`` from 0."""
        ...

    def threads(self, num_workers: int) -> int:
        """Return how many CPU threads each of ``num_workers`` on this machine should use."""
        ...

    def say(self, text: str) -> None:
        """Print a line of progress."""
        ...


class Executor(Protocol):
    """Made by an :class:`~sslm_platform.types.ExecutorDef`."""

    def run(self, job: Job) -> None:
        """Get all units done.

        A worker may have died: end with ``job.work()``, which does what is left, or nothing.
        """
        ...
