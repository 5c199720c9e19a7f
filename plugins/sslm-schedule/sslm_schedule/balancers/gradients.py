"""Balancers of gradients, by torchjd: a Gramian of the tasks' gradients to weights.

Rows are the gradients g_t of the tasks' parts of the step's loss, share_t · loss_t, of the balancer's scope:
the encoder's last layer, or all of it. The whole encoder's gradient is then Σ w_t g_t. Heads get the gradient
of the unweighted loss. A step of one task takes its gradient as it is; absent tasks take no part, and what a
method knows of them stays.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from sslm_platform.api import BalancingState, Memory, Options, Problem
from sslm_schedule.patterns import Tasks

EXTRA = "pip install 'sslm-schedule[torchjd]'"


class CAGradOptions(Options):
    """Options of ``cagrad``."""

    c: float = Field(
        default=0.5, ge=0.0, description="How far from the mean gradient, in its norms; 0 is the mean."
    )


class GradVacOptions(Options):
    """Options of ``gradvac``."""

    beta: float = Field(default=0.5, ge=0.0, le=1.0, description="Share of a step in the running cosines.")


class NashMTLOptions(Options):
    """Options of ``nash_mtl``."""

    max_norm: float = Field(default=1.0, ge=0.0, description="Largest norm of the sum; 0: no limit.")


class Weighted:
    """A memoryless method: the weights are a function of the Gramian, and of chance keyed by seed and step.

    Args:
        make: makes torchjd's weighting; torch is imported inside.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def combine(self, state: BalancingState, gramian_TT: np.ndarray) -> tuple[Sequence[float], Memory]:
        """Return the weights of the tasks' gradients, (T,)."""
        return _weigh(self.make(), gramian_TT, state), state.memory


class GradVac:
    """Gradient vaccine: raise each pair's cosine to its running mean (Wang et al. 2021, algorithm 1).

    The memory holds the running cosine of each ordered pair, 0 at first.
    """

    def __init__(self, options: GradVacOptions) -> None:
        self.beta = options.beta

    def combine(self, state: BalancingState, gramian_TT: np.ndarray) -> tuple[Sequence[float], Memory]:
        """Return the weights, and the running cosines."""
        import torch
        from torchjd.aggregation import GradVacWeighting

        tasks = list(state.shares)
        kept: Mapping[str, Mapping[str, float]] = state.memory
        weighting: Any = GradVacWeighting(beta=self.beta)
        weighting._ensure_state(len(tasks), torch.float64)
        running = [[kept.get(task, {}).get(other, 0.0) for other in tasks] for task in tasks]
        weighting._phi_t = torch.tensor(running, dtype=torch.float64)
        weights = _weigh(weighting, gramian_TT, state)
        rows = dict(zip(tasks, weighting._phi_t.tolist(), strict=True))
        after = {task: {**kept.get(task, {}), **dict(zip(tasks, rows[task], strict=True))} for task in tasks}
        return weights, {**kept, **after}


class NashMTL:
    """The Nash bargaining solution: G a = 1 / a.

    Navon et al. 2022, "Multi-task learning as a bargaining game", equation 2, solved as in their algorithm 1.
    The memory holds each task's last a, from which the solver starts.
    """

    def __init__(self, options: NashMTLOptions) -> None:
        self.max_norm = options.max_norm

    def combine(self, state: BalancingState, gramian_TT: np.ndarray) -> tuple[Sequence[float], Memory]:
        """Return the weights, and the bargaining solution before its norm was limited."""
        from torchjd.aggregation import NashMTL as Theirs

        tasks = list(state.shares)
        weighting = Theirs(n_tasks=len(tasks), max_norm=self.max_norm).weighting
        weighting.prvs_alpha = np.array([state.memory.get(task, 1.0) for task in tasks])
        values_T, vectors_TT = np.linalg.eigh(gramian_TT)
        factor_TT = vectors_TT * np.sqrt(np.maximum(values_T, 0.0))  # it takes a matrix, not its Gramian
        weights = _weigh(weighting, factor_TT, state)
        if not np.isfinite(weighting.prvs_alpha).all():
            return weights, state.memory
        solution = dict(zip(tasks, weighting.prvs_alpha.tolist(), strict=True))
        return weights, {**state.memory, **solution}


def _weigh(weighting: Callable[[Any], Any], matrix: np.ndarray, state: BalancingState) -> list[float]:
    import torch

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the solvers, about themselves
        key = np.random.SeedSequence([state.seed, state.step]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(key >> np.uint64(1)))
        weights: list[float] = weighting(torch.tensor(matrix, dtype=torch.float64)).tolist()
    return weights


def pcgrad() -> Any:
    """Take from each gradient what points against another (Yu et al. 2020, algorithm 1), and add up."""
    from torchjd.aggregation import PCGradWeighting

    return PCGradWeighting()


def mgda() -> Any:
    """The shortest vector in the gradients' convex hull (Désidéri 2012; Sener & Koltun 2018, equation 4)."""
    from torchjd.aggregation import MGDAWeighting

    return MGDAWeighting()


def cagrad(c: float) -> Any:
    """The best worst-case descent within c of the mean gradient (Liu et al. 2021, algorithm 1)."""
    from torchjd.aggregation import CAGradWeighting

    return CAGradWeighting(c=c)


def imtl_g() -> Any:
    """Equal projections on all gradients' directions (Liu et al. 2021, "Impartial MTL", equation 5)."""
    from torchjd.aggregation import IMTLGWeighting

    return IMTLGWeighting()


def aligned_mtl() -> Any:
    """Gradients made orthogonal and of one length (Senushkin et al. 2023, algorithm 1)."""
    from torchjd.aggregation import AlignedMTLWeighting

    return AlignedMTLWeighting()


def upgrad() -> Any:
    """The mean of the gradients, each projected onto the dual cone (Quinton & Rey 2024, section 3)."""
    from torchjd.aggregation import UPGradWeighting

    return UPGradWeighting()


def check_installed(*packages: str) -> Callable[[Any, Tasks], Iterable[Problem]]:
    """Return a check that torchjd, and what a method needs beside it, are there."""

    def check(options: Any, tasks: Tasks) -> Iterable[Problem]:
        missing = [name for name in ("torchjd", *packages) if importlib.util.find_spec(name) is None]
        if missing:
            yield Problem("", f"needs {', '.join(missing)}: {EXTRA}")

    return check
