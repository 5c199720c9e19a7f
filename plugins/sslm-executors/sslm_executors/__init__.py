"""Executors of transfer runs: this process alone, or several on this machine."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from sslm_platform.api import Executor, ExecutorDef, Job, Options, hookimpl


class ProcessesOptions(Options):
    """Options of ``processes``."""

    workers: int = Field(default=2, ge=1, description="Processes; the CPU threads are shared among them.")


class Serial:
    """One unit after the other, in this process."""

    def run(self, job: Job) -> None:
        """Do all units here."""
        job.work()


@hookimpl
def sslm_executors() -> Iterable[ExecutorDef]:
    """Register the built-in executors."""
    return (
        ExecutorDef(
            name="serial",
            build=lambda options: Serial(),
            summary="One unit of work after the other, in this process.",
        ),
        ExecutorDef(
            name="processes",
            build=_build_processes,
            options=ProcessesOptions,
            summary="Several worker processes on this machine.",
        ),
    )


def _build_processes(options: ProcessesOptions) -> Executor:
    from sslm_executors.processes import Processes

    return Processes(options.workers)
