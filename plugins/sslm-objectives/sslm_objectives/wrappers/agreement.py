"""Passes whose outputs shall agree: under dropout, or wherever the embeddings are shifted a little."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from sslm_objectives.wrappers.options import RDropOptions, SmartOptions
from sslm_platform.api import Pass, Passes


class RDrop:
    """L(x) + L'(x) + λ/2 (KL(p || p') + KL(p' || p)), two passes under dropout (Liang et al. 2021, eq. 4)."""

    num_backwards = 1

    def __init__(self, options: RDropOptions) -> None:
        self.weight = options.weight

    def losses(self, passes: Passes) -> Iterator[Tensor]:
        """Yield both losses and the divergence."""
        one, other = passes(), passes()
        yield one.losses_B + other.losses_B + 0.5 * self.weight * disagreement(one, other)


class Smart:
    """L(x) + λ max D(x + δ, x) over |δ| <= ε (SMART; Jiang et al. 2020, equations 1 to 3).

    D is :func:`disagreement`. From normal noise, K steps δ <- Π(δ + η g / ||g||∞), whose gradients train
    nothing. K + 2 passes, one backward.
    """

    num_backwards = 1

    def __init__(self, options: SmartOptions) -> None:
        self.options = options

    def losses(self, passes: Passes) -> Iterator[Tensor]:
        """Yield the loss and the largest disagreement that was found."""
        options, plain = self.options, passes()
        still = Pass(plain.outputs.detach(), plain.losses_B, plain.targets)
        shift_BLE = passes.noise(self._first).requires_grad_()
        for _ in range(options.steps):
            gradient_BLE = passes.gradient(disagreement(passes(shift_BLE), still).sum(), shift_BLE)
            largest_B11 = gradient_BLE.abs().amax(dim=(1, 2), keepdim=True)
            step_BLE = gradient_BLE / largest_B11.where(largest_B11 > 0, 1.0)
            moved_BLE = shift_BLE.detach() + options.step_size * step_BLE
            shift_BLE = moved_BLE.clamp(-options.epsilon, options.epsilon).requires_grad_()
        yield plain.losses_B + options.weight * disagreement(passes(shift_BLE.detach()), plain)

    def _first(self, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return generator.normal(0.0, self.options.noise, shape)


def disagreement(one: Pass, other: Pass) -> Tensor:
    """Return each example's sum over its rows of KL(p || q) + KL(q || p), (B,); of values (y - y')²."""
    first, second = one.outputs.float(), other.outputs.float()
    if first.ndim == 1:
        return (first - second).square()
    log_p, log_q = first.log_softmax(dim=-1), second.log_softmax(dim=-1)
    # KL(p||q) + KL(q||p) = Σ (p - q)(log p - log q)
    rows_N = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1)
    if "example" not in one.targets:
        return rows_N
    return rows_N.new_zeros(len(one.losses_B)).index_add(0, one.targets["example"], rows_N)
