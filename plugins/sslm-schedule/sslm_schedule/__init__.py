"""Samplers and balancers of sslm-platform."""

from __future__ import annotations

from collections.abc import Iterable

from sslm_platform.api import BalancerDef, SamplerDef, hookimpl
from sslm_schedule.balancers import Equal, Static, StaticOptions
from sslm_schedule.samplers import Proportional, Temperature, TemperatureOptions, Uniform


@hookimpl
def sslm_samplers() -> Iterable[SamplerDef]:
    """Register the built-in samplers."""
    return (
        SamplerDef("uniform", lambda options: Uniform(), summary="Every feed as often."),
        SamplerDef("proportional", lambda options: Proportional(), summary="By number of examples, n."),
        SamplerDef(
            "temperature", Temperature, options=TemperatureOptions, summary="By n to the power 1/temperature."
        ),
    )


@hookimpl
def sslm_balancers() -> Iterable[BalancerDef]:
    """Register the built-in balancers."""
    return (
        BalancerDef("equal", lambda options: Equal(), summary="Every task's mean loss weighs 1."),
        BalancerDef("static", Static, options=StaticOptions, summary="Weights by task, from the spec."),
    )
