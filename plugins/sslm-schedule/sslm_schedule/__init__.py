"""Samplers and balancers of sslm-platform."""

from __future__ import annotations

from collections.abc import Iterable

from sslm_platform.api import BalancerDef, SamplerDef, hookimpl
from sslm_schedule.balancers.dwa import DWA, DWAOptions
from sslm_schedule.balancers.famo import FAMO, FAMOOptions
from sslm_schedule.balancers.fixed import Equal, Static, StaticOptions, check_weights
from sslm_schedule.balancers.geometric import Geometric
from sslm_schedule.balancers.gradients import (
    CAGradOptions,
    GradVac,
    GradVacOptions,
    NashMTL,
    NashMTLOptions,
    Weighted,
    aligned_mtl,
    cagrad,
    check_installed,
    imtl_g,
    mgda,
    pcgrad,
    upgrad,
)
from sslm_schedule.balancers.gradnorm import GradNorm, GradNormOptions
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
            staged=True,
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
        *_gradient_balancers(),
    )


def _gradient_balancers() -> Iterable[BalancerDef]:
    by_gramian = (
        ("pcgrad", lambda options: Weighted(pcgrad), (), "Conflicting gradients projected (Yu et al. 2020)."),
        ("mgda", lambda options: Weighted(mgda), (), "Shortest convex combination (Sener & Koltun 2018)."),
        ("imtl_g", lambda options: Weighted(imtl_g), (), "Equal projections on all (Liu et al. 2021)."),
        (
            "aligned_mtl",
            lambda options: Weighted(aligned_mtl),
            (),
            "Made orthogonal, of one length (Senushkin et al. 2023).",
        ),
        (
            "upgrad",
            lambda options: Weighted(upgrad),
            ("qpsolvers", "quadprog"),
            "Projected onto the cone without conflict (Quinton & Rey 2024).",
        ),
    )
    for name, build, packages, summary in by_gramian:
        yield BalancerDef(
            name,
            build,
            summary=f"Gradients: {summary[0].lower()}{summary[1:]}",
            check=check_installed(*packages),
            compares_tasks=True,
            gradients=True,
        )
    yield BalancerDef(
        "cagrad",
        lambda options: Weighted(lambda: cagrad(options.c)),
        options=CAGradOptions,
        summary="Gradients: best worst case near the mean (Liu et al. 2021).",
        check=check_installed("cvxpy", "clarabel"),
        compares_tasks=True,
        gradients=True,
    )
    yield BalancerDef(
        "gradvac",
        GradVac,
        options=GradVacOptions,
        summary="Gradients: cosines raised to their running means (Wang et al. 2021).",
        check=check_installed(),
        compares_tasks=True,
        gradients=True,
    )
    yield BalancerDef(
        "nash_mtl",
        NashMTL,
        options=NashMTLOptions,
        summary="Gradients: the Nash bargaining solution (Navon et al. 2022).",
        check=check_installed("cvxpy", "ecos"),
        compares_tasks=True,
        gradients=True,
    )
    yield BalancerDef(
        "gradnorm",
        GradNorm,
        options=GradNormOptions,
        summary="Gradients: of one length, more for slow tasks (Chen et al. 2018).",
        compares_tasks=True,
        gradients=True,
    )
