"""Regression on a bounded scale, such as ratings from 1 to 5: one objective, one head, one metric.

Definitions only: torch is imported in the build functions, so that ``sslm plugins`` answers at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from sslm_example.options import BoundedOptions, HuberOptions
from sslm_platform.api import (
    Field,
    FieldKind,
    Head,
    HeadContext,
    HeadDef,
    Metric,
    MetricContext,
    MetricDef,
    Objective,
    ObjectiveContext,
    ObjectiveDef,
    Options,
    OutputKind,
    hookimpl,
)


@hookimpl
def sslm_objectives() -> Iterable[ObjectiveDef]:
    """Register ``huber``."""
    fields = {"text": Field(FieldKind.TEXT), "value": Field(FieldKind.VALUE)}
    yield ObjectiveDef(
        name="huber",
        build=_build_huber,
        needs={OutputKind.SEQUENCE_VALUES: fields},
        options=HuberOptions,
        summary="Squared error near the value, absolute error far from it.",
    )


@hookimpl
def sslm_heads() -> Iterable[HeadDef]:
    """Register ``bounded_regressor``."""
    yield HeadDef(
        name="bounded_regressor",
        build=_build_bounded_regressor,
        emits=OutputKind.SEQUENCE_VALUES,
        options=BoundedOptions,
        summary="One number for a text, between two bounds.",
    )


@hookimpl
def sslm_metrics() -> Iterable[MetricDef]:
    """Register ``mean_absolute_error``."""
    yield MetricDef(
        name="mean_absolute_error",
        build=_build_mean_absolute_error,
        accepts=frozenset({OutputKind.SEQUENCE_VALUES}),
        higher_is_better=False,
        best=0.0,
        summary="Mean distance from the value.",
    )


def _build_huber(options: HuberOptions, context: ObjectiveContext) -> Objective:
    from sslm_example.huber import Huber

    return Huber(options.delta)


def _build_bounded_regressor(options: BoundedOptions, context: HeadContext) -> Head:
    from sslm_example.bounded_regressor import BoundedRegressor

    return BoundedRegressor(options, context.hidden_size)


def _build_mean_absolute_error(options: Options, context: MetricContext) -> Metric:
    from sslm_example.mean_absolute_error import MeanAbsoluteError

    return MeanAbsoluteError()
