"""Elastic weight consolidation: what earlier stages of a training need is held where it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from sslm_platform.engine.base import TensorDict
from sslm_platform.errors import Problem, RunError

SUMS = ("fisher", "fisher_weight")


class Consolidation:
    """EWC (Kirkpatrick et al. 2017, PNAS, eq. 3): s/2 · Σ_k Σ_i F_ki (w_i - w*_ki)² is added to the loss.

    w*_k are the weights at the end of stage k, and F_k is the diagonal of the empirical Fisher information
    there: the mean of single examples' squared gradients. The penalty's gradient is
    s · (w ΣF_k - Σ F_k w*_k), so that two sums are all that is kept, however many stages there were.

    Args:
        part: its name, in a saved state's keys.
        weights: what is trained.
        strength: s.
    """

    def __init__(self, part: str, weights: Mapping[str, nn.Parameter], strength: float) -> None:
        self._part = part
        self._weights = weights
        self._strength = strength
        self._sums: dict[str, TensorDict] = {name: {} for name in SUMS}

    def take(self, losses: Iterable[Tensor]) -> None:
        """End a stage.

        Args:
            losses: of one example each, one at least; asked for one by one.
        """
        squares = {name: torch.zeros_like(weight) for name, weight in self._weights.items()}
        number = 0
        for loss in losses:
            number += 1
            found = torch.autograd.grad(loss, list(self._weights.values()), allow_unused=True)
            for square, gradient in zip(squares.values(), found, strict=True):
                if gradient is not None:
                    square.addcmul_(gradient, gradient)
        with torch.no_grad():
            for name, weight in self._weights.items():
                fisher = squares[name] / number
                for kind, value in zip(SUMS, (fisher, fisher * weight), strict=True):
                    self._sums[kind][name] = self._sums[kind].get(name, 0.0) + value

    @torch.no_grad()
    def pull(self) -> None:
        """Add the penalty's gradient to the weights' own, which may be missing."""
        for name, fisher in self._sums["fisher"].items():
            weight = self._weights[name]
            pull = (fisher * weight - self._sums["fisher_weight"][name]) * self._strength
            weight.grad = pull if weight.grad is None else weight.grad.add_(pull)

    def state(self) -> TensorDict:
        """Return ``PART/SUM/PARAMETER`` on the CPU; empty before a stage has ended."""
        return {
            f"{self._part}/{kind}/{name}": value.detach().cpu().clone()
            for kind, sums in self._sums.items()
            for name, value in sums.items()
        }

    def load_state(self, saved: Mapping[str, Tensor]) -> None:
        """Write this part's entries of a saved state; none means that no stage has ended.

        Raises:
            RunError: they are of another model.
        """
        self._sums = {name: {} for name in SUMS}
        if not any(f"{self._part}/{SUMS[0]}/{name}" in saved for name in self._weights):
            return
        for kind, sums in self._sums.items():
            for name, weight in self._weights.items():
                key = f"{self._part}/{kind}/{name}"
                if key not in saved or saved[key].shape != weight.shape:
                    raise RunError(
                        Problem(f"optimizer state {key!r}", "missing, or of another model's shape")
                    )
                sums[name] = saved[key].to(weight.device, weight.dtype).clone()
