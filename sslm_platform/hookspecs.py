"""The hooks of the entry-point group ``sslm_platform``.

Registration hooks take nothing and return definitions. Observers run on rank 0 and are read-only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from sslm_platform.steps import StepRecord
from sslm_platform.types import (
    AugmenterDef,
    BalancerDef,
    EstimatorDef,
    ExecutorDef,
    HeadDef,
    MetricDef,
    ObjectiveDef,
    SamplerDef,
    WrapperDef,
)

if TYPE_CHECKING:
    from sslm_platform.report.records import CellRecord

PROJECT = "sslm_platform"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def sslm_objectives() -> Iterable[ObjectiveDef]:  # type: ignore[empty-body]
    """Return the plugin's objectives."""


@hookspec
def sslm_wrappers() -> Iterable[WrapperDef]:  # type: ignore[empty-body]
    """Return the plugin's wrappers of objectives."""


@hookspec
def sslm_heads() -> Iterable[HeadDef]:  # type: ignore[empty-body]
    """Return the plugin's heads."""


@hookspec
def sslm_metrics() -> Iterable[MetricDef]:  # type: ignore[empty-body]
    """Return the plugin's metrics."""


@hookspec
def sslm_samplers() -> Iterable[SamplerDef]:  # type: ignore[empty-body]
    """Return the plugin's samplers."""


@hookspec
def sslm_balancers() -> Iterable[BalancerDef]:  # type: ignore[empty-body]
    """Return the plugin's balancers."""


@hookspec
def sslm_augmenters() -> Iterable[AugmenterDef]:  # type: ignore[empty-body]
    """Return the plugin's augmenters of training texts."""


@hookspec
def sslm_estimators() -> Iterable[EstimatorDef]:  # type: ignore[empty-body]
    """Return the plugin's estimators of transferability."""


@hookspec
def sslm_executors() -> Iterable[ExecutorDef]:  # type: ignore[empty-body]
    """Return the plugin's executors of transfer runs."""


@hookspec
def sslm_step_ended(record: StepRecord) -> None:
    """Observe one optimizer step."""


@hookspec
def sslm_cell_finished(record: CellRecord) -> None:
    """Observe one finished (or failed) cell of a transfer matrix."""
