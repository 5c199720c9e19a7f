"""Transfer runs on a Ray cluster. Ray itself is imported when a run starts."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from pydantic import Field

from sslm_platform.api import Executor, ExecutorDef, Options, SpecError, hookimpl


class RayOptions(Options):
    """Options of ``ray``."""

    address: str | None = Field(
        default=None,
        description="Of the cluster, or `auto` for this machine's; without one Ray runs here alone.",
    )
    workers: int = Field(default=2, ge=1, description="Workers; each is one task of Ray.")
    cpus: int = Field(default=1, ge=1, description="CPUs, and so threads, of each worker.")
    gpus: float = Field(default=0.0, ge=0.0, description="GPUs of each worker.")


@hookimpl
def sslm_executors() -> Iterable[ExecutorDef]:
    """Register the executor."""
    return (
        ExecutorDef(
            name="ray",
            build=_build,
            options=RayOptions,
            summary="Workers on a Ray cluster, whose machines share the run's folder and the cache.",
        ),
    )


def _build(options: RayOptions) -> Executor:
    if importlib.util.find_spec("ray") is None:
        raise SpecError("executor ray needs Ray: pip install 'sslm-ray[ray]'")
    from sslm_ray.executor import RayExecutor

    return RayExecutor(options)
