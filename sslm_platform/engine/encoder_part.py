"""What an engine clips, steps, saves and loads as one, and the encoder under DeepSpeed's stage 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from sslm_platform.engine.base import TensorDict
from sslm_platform.engine.optimizer import set_rate
from sslm_platform.engine.part import Part, finite_norm


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

    def step(self, learning_rate: float) -> float:
        """Reduce, clip, step and clear; return the gradient's norm before clipping."""
        ...


class TrunkPart(EnginePart, Protocol):
    """An encoder, or the trunk of one whose slice is elsewhere."""

    def count_in(self, norm: Callable[[], Tensor]) -> None:
        """Clip by one norm with parameters elsewhere, which have the norm that this returns before a step."""
        ...


class ReplicatedEncoder:
    """Stage 0: the optimizer is torch's own, so only reduction and stepping are DeepSpeed's."""

    def __init__(self, engine: Any, part: Part) -> None:
        self._engine = engine
        self._part = part
        self._norm = 0.0
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
        self._norm = finite_norm(self._part.name, float(norm))
        self._part.clip(norm)

    def step(self, learning_rate: float) -> float:
        """Reduce, clip, step and clear."""
        set_rate(self._part.optimizer, self._part.peak_rate * learning_rate)
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
