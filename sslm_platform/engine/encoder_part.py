"""What an engine clips, steps, saves and loads as one, and the encoder under DeepSpeed's stage 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from sslm_platform.engine.base import TensorDict
from sslm_platform.engine.part import Part, all_finite

Others = Callable[[bool], bool]
"""Called once in a step, between the norm and the update, with whether the gradient is finite and to be used;
returns whether those of all others are too. Other parts may take their own step inside."""


def on_its_own(finite: bool) -> bool:
    """Ask no others."""
    return finite


class Stored(Protocol):
    """What is saved and loaded as one part. Everything is collective."""

    def weights(self) -> TensorDict:
        """Return full fp32 weights on the CPU of rank 0; other ranks keep none of them."""
        ...

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write full weights."""
        ...

    def optimizer_state(self) -> TensorDict:
        """Return full moments and the step count on the CPU of rank 0; other ranks keep none of them."""
        ...

    def load_optimizer_state(self, saved: Mapping[str, Tensor]) -> None:
        """Write full moments and the step count."""
        ...


class EnginePart(Stored, Protocol):
    """A part that DeepSpeed reduces and steps."""

    def step(self, learning_rate: float, skip: bool = False, others: Others = on_its_own) -> float:
        """Reduce, clip, step and clear; return the gradient's norm before clipping.

        A gradient that is not finite, or with ``skip`` any, is cleared and nothing else, and so it is where
        ``others`` say no.
        """
        ...


def step_together(parts: Mapping[str, EnginePart], learning_rate: float, finite: bool) -> dict[str, float]:
    """Step all parts or, where the gradient of one is not finite, none; return their norms.

    DeepSpeed tells a norm in its step only, so each part takes its own between the norm and the update of the
    part before it.

    Args:
        parts: by name; the same on all ranks.
        learning_rate: share of the peak rates.
        finite: whether the gradients of parts elsewhere are.
    """
    norms: dict[str, float] = {}

    def step_from(index: int, finite: bool) -> bool:
        if index < len(parts):
            name, part = list(parts.items())[index]
            norms[name] = part.step(learning_rate, not finite, lambda own: step_from(index + 1, own))
        return finite and all_finite(norms)

    step_from(0, finite)
    return {name: norms[name] for name in parts}


class TrunkPart(EnginePart, Protocol):
    """An encoder, or the trunk of one whose slice is elsewhere."""

    def count_in(self, norm: Callable[[], Tensor]) -> None:
        """Clip by one norm with parameters elsewhere, which have the norm that this returns before a step."""
        ...


class FrozenEncoder:
    """An encoder that nothing trains: DeepSpeed has no part in it, and ranks share the examples of heads."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def step(self, learning_rate: float, skip: bool = False, others: Others = on_its_own) -> float:
        """Ask the others; there is nothing to step."""
        others(not skip)
        return 0.0

    def weights(self) -> TensorDict:
        """Return weights."""
        return self._part.weights()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write weights."""
        self._part.load_weights(weights)

    def optimizer_state(self) -> TensorDict:
        """Return nothing."""
        return {}

    def load_optimizer_state(self, saved: Mapping[str, Tensor]) -> None:
        """Read nothing."""


class ReplicatedEncoder:
    """Stage 0: the optimizer is torch's own, so only reduction and stepping are DeepSpeed's."""

    def __init__(self, engine: Any, part: Part) -> None:
        self._engine = engine
        self._part = part
        self._norm = 0.0
        self._skip = False
        self._others: Others = on_its_own
        self._elsewhere: Callable[[], Tensor] | None = None
        # Between DeepSpeed's reduction and its update there is no other place to clip and to see the norm.
        part.optimizer.register_step_pre_hook(self._clip)

    def count_in(self, norm: Callable[[], Tensor]) -> None:
        """Clip by one norm with parameters elsewhere."""
        self._elsewhere = norm

    def _clip(self, *_: Any) -> None:
        norm = self._part.norm()
        if self._elsewhere is not None:
            norm = torch.hypot(norm, self._elsewhere())
        self._norm = float(norm)
        if self._others(math.isfinite(self._norm) and not self._skip):
            self._part.clip(norm)
        else:
            self._part.clear_gradients()  # the update passes over parameters that have none

    def step(self, learning_rate: float, skip: bool = False, others: Others = on_its_own) -> float:
        """Reduce, clip, step and clear."""
        self._skip, self._others = skip, others
        self._part.set_rate(learning_rate)
        self._engine.step()
        return self._norm

    def weights(self) -> TensorDict:
        """Return weights."""
        return self._part.weights()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write weights."""
        self._part.load_weights(weights)

    def optimizer_state(self) -> TensorDict:
        """Return moments and the step count."""
        return self._part.optimizer_state()

    def load_optimizer_state(self, saved: Mapping[str, Tensor]) -> None:
        """Write moments and the step count."""
        self._part.load_optimizer_state(saved)
