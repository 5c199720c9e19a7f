"""Training on shifted embeddings. Shifts are of the embedding's output: at ZeRO-3 its weights are slices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sslm_objectives.wrappers.geometry import unit, within
from sslm_objectives.wrappers.options import FgmOptions, FreelbOptions, PgdOptions
from sslm_platform.api import Passes


class FastGradientMethod:
    """L(x) + L(x + ε g / ||g||), g the gradient of L(x) (Miyato et al. 2017, equations 2 and 6; λ = 1).

    Two passes and two backwards: the first one trains, too.
    """

    num_backwards = 2

    def __init__(self, options: FgmOptions) -> None:
        self.epsilon = options.epsilon

    def losses(self, passes: Passes) -> Iterator[Tensor]:
        """Yield the loss, then the loss where it rises fastest."""
        shift_BLE = _zero(passes)
        yield passes(shift_BLE).losses_B
        yield passes(self.epsilon * unit(_gradient(shift_BLE))).losses_B


class ProjectedGradientDescent:
    """L(x) + max L(x + δ) over ||δ|| <= ε, by K steps δ <- Π(δ + η g / ||g||).

    Madry et al. 2018, section 2.1. K + 2 passes. Gradients of the steps train nothing.
    """

    num_backwards = 2

    def __init__(self, options: PgdOptions) -> None:
        self.options = options

    def losses(self, passes: Passes) -> Iterator[Tensor]:
        """Yield the loss, then the loss at the end of the way up."""
        yield passes().losses_B
        shift_BLE = _zero(passes)
        for _ in range(self.options.steps):
            gradient_BLE = passes.gradient(passes(shift_BLE).losses_B.sum(), shift_BLE)
            moved_BLE = shift_BLE.detach() + self.options.step_size * unit(gradient_BLE)
            shift_BLE = within(moved_BLE, self.options.epsilon).requires_grad_()
        yield passes(shift_BLE.detach()).losses_B


class FreeLargeBatch:
    """(1/K) Σ_t L(x + δ_t), δ_{t+1} = Π(δ_t + η g_t / ||g_t||) (FreeLB; Zhu et al. 2020, algorithm 1).

    δ_0 is uniform on [-ε, ε] / √(L E) in each coordinate of an example of L tokens. K passes and backwards,
    each of which gives a gradient to the weights and one to the shift.
    """

    def __init__(self, options: FreelbOptions) -> None:
        self.options = options
        self.num_backwards = options.steps

    def losses(self, passes: Passes) -> Iterator[Tensor]:
        """Yield the K-th part of the loss at each shift."""
        options = self.options
        shift_BLE = passes.noise(self._first).requires_grad_()
        for _ in range(options.steps):
            yield passes(shift_BLE).losses_B / options.steps
            moved_BLE = shift_BLE.detach() + options.step_size * unit(_gradient(shift_BLE))
            shift_BLE = within(moved_BLE, options.epsilon).requires_grad_()

    def _first(self, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return generator.uniform(-1.0, 1.0, shape) * self.options.epsilon / np.sqrt(shape[0] * shape[1])


def _zero(passes: Passes) -> Tensor:
    return passes.noise(lambda generator, shape: np.zeros(shape)).requires_grad_()


def _gradient(shift_BLE: Tensor) -> Tensor:
    """Return what the last backward has left; none where nothing depended on the shift."""
    return torch.zeros_like(shift_BLE) if shift_BLE.grad is None else shift_BLE.grad
