"""Samplers and balancers of sslm-platform."""

from __future__ import annotations

from collections.abc import Iterable

from sslm_platform.api import BalancerDef, SamplerDef, hookimpl
from sslm_schedule.balancers.dwa import DWA, DWAOptions
from sslm_schedule.balancers.famo import FAMO, FAMOOptions
from sslm_schedule.balancers.fixed import Equal, Static, StaticOptions, check_weights
from sslm_schedule.balancers.geometric import Geometric
from sslm_schedule.balancers.random_weights import RandomWeights
from sslm_schedule.balancers.uncertainty import Uncertainty, UncertaintyOptions
from sslm_schedule.samplers.dev_gap import DevGap, DevGapOptions, check_references
from sslm_schedule.samplers.doremi import DoReMi, DoReMiOptions, check_reference_losses
from sslm_schedule.samplers.exp3s import Exp3S, Exp3SOptions
from sslm_schedule.samplers.order import (
    RoundRobin,
    Sequential,
    SequentialOptions,
    StaticRatio,
    StaticRatioOptions,
    check_ratios,
    check_stages,
)
from sslm_schedule.samplers.sizes import (
    Annealed,
    AnnealedOptions,
    CapOptions,
    Proportional,
    Temperature,
    TemperatureOptions,
    Uniform,
)


@hookimpl
def sslm_samplers() -> Iterable[SamplerDef]:
    """Register the built-in samplers."""
    return (
        SamplerDef("uniform", lambda options: Uniform(), summary="Every feed as often."),
        SamplerDef(
            "proportional", Proportional, options=CapOptions, summary="By number of examples, n, up to a cap."
        ),
        SamplerDef(
            "temperature", Temperature, options=TemperatureOptions, summary="By n to the power 1/temperature."
        ),
        SamplerDef(
            "annealed",
            Annealed,
            options=AnnealedOptions,
            summary="From proportional to n to the power 0.2, epoch by epoch (PALs).",
        ),
        SamplerDef("round_robin", lambda options: RoundRobin(), summary="One feed after the other."),
        SamplerDef(
            "static",
            StaticRatio,
            options=StaticRatioOptions,
            summary="Ratios by feed or task, from the spec.",
            check=check_ratios,
        ),
        SamplerDef(
            "sequential",
            Sequential,
            options=SequentialOptions,
            summary="Stages one after the other, with replay of earlier ones: curricula, continual learning.",
            check=check_stages,
        ),
        SamplerDef(
            "dev_gap",
            DevGap,
            options=DevGapOptions,
            summary="By how far each task's dev score is behind its reference (dynamic sampling).",
            check=check_references,
            needs_scores=True,
        ),
        SamplerDef(
            "doremi",
            DoReMi,
            options=DoReMiOptions,
            summary="By excess loss over a reference model's (DoReMi).",
            check=check_reference_losses,
        ),
        SamplerDef(
            "exp3s",
            Exp3S,
            options=Exp3SOptions,
            summary="By learning progress, with the bandit Exp3.S.",
        ),
    )


@hookimpl
def sslm_balancers() -> Iterable[BalancerDef]:
    """Register the built-in balancers."""
    return (
        BalancerDef("equal", lambda options: Equal(), summary="Every task's mean loss weighs 1."),
        BalancerDef(
            "static",
            Static,
            options=StaticOptions,
            summary="Weights by task, from the spec.",
            check=check_weights,
        ),
        BalancerDef(
            "uncertainty",
            Uncertainty,
            options=UncertaintyOptions,
            summary="Learned: half the inverse variance of each task (Kendall et al. 2018).",
        ),
        BalancerDef(
            "dwa",
            DWA,
            options=DWAOptions,
            summary="More for tasks whose loss falls slowly (Liu et al. 2019).",
        ),
        BalancerDef(
            "random", lambda options: RandomWeights(), summary="Drawn anew in every step (Lin et al. 2022)."
        ),
        BalancerDef(
            "geometric",
            lambda options: Geometric(),
            summary="Descends on the losses' geometric mean (GLS, Chennupati et al. 2019).",
            needs_losses=True,
            compares_tasks=True,
        ),
        BalancerDef(
            "famo",
            FAMO,
            options=FAMOOptions,
            summary="Even progress in the losses' logarithms (FAMO, Liu et al. 2023).",
            needs_losses=True,
            needs_losses_after=True,
            compares_tasks=True,
        ),
    )
