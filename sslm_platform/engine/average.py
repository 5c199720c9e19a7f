"""A running average of a part's weights, and the weights' place taken by it for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from sslm_platform.engine.base import TensorDict
from sslm_platform.errors import Problem, RunError
from sslm_platform.spec.optimizer import AverageSpec


class Average:
    """mean ← mean + (weight - mean) · share, where share is 1 - decay (EMA) or 1 / number of weights (SWA).

    The first weights are the first mean, so that there is no bias to correct.

    Args:
        part: its name, in a saved state's keys.
        weights: what is averaged; updated in place by an optimizer.
        spec: the section ``optimizer.average``.
    """

    def __init__(self, part: str, weights: Mapping[str, Tensor], spec: AverageSpec) -> None:
        self._part = part
        self._weights = weights
        self._decay = spec.decay if spec.name == "ema" else None
        self._means: TensorDict = {}
        self._count = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights as they are into the mean."""
        self._count += 1
        if not self._means:
            self._means = {name: weight.detach().clone() for name, weight in self._weights.items()}
            return
        share = 1.0 / self._count if self._decay is None else 1.0 - self._decay
        torch._foreach_lerp_(list(self._means.values()), [*self._weights.values()], share)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange weights and means, if there are any."""
        for name, mean in self._means.items():
            weight = self._weights[name]
            held = weight.clone()
            weight.copy_(mean)
            mean.copy_(held)

    def state(self) -> TensorDict:
        """Return ``PART/average/PARAMETER`` and ``PART/averaged`` on the CPU; empty at first."""
        if not self._means:
            return {}
        means = {self._key(name): mean.detach().cpu().clone() for name, mean in self._means.items()}
        return {**means, self._count_key: torch.tensor(self._count)}

    def load_state(self, saved: Mapping[str, Tensor]) -> None:
        """Write this part's entries of a saved state; none means that nothing was averaged yet.

        Raises:
            RunError: some are missing, or of other shapes.
        """
        self._means, self._count = {}, 0
        if self._count_key not in saved:
            return
        self._count = int(saved[self._count_key])
        for name, weight in self._weights.items():
            key = self._key(name)
            if key not in saved or saved[key].shape != weight.shape:
                raise RunError(Problem(f"optimizer state {key!r}", "missing, or of another model's shape"))
            self._means[name] = saved[key].to(weight.device, weight.dtype).clone()

    def _key(self, name: str) -> str:
        return f"{self._part}/average/{name}"

    @property
    def _count_key(self) -> str:
        return f"{self._part}/averaged"


class Averaged(Protocol):
    """What may have an average."""

    average: Average | None


@contextmanager
def averaged(parts: Iterable[Averaged]) -> Iterator[None]:
    """Put the averages in the weights' place, and the weights back, to the bit."""
    averages = [part.average for part in parts if part.average is not None]
    for average in averages:
        average.swap()
    try:
        yield
    finally:
        for average in averages:
            average.swap()
