"""The engine of one process, in plain torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from sslm_platform.engine.average import averaged
from sslm_platform.engine.base import TensorDict
from sslm_platform.engine.consolidation import Consolidation
from sslm_platform.engine.course import EVERYTHING, Phase
from sslm_platform.engine.part import Part, all_finite, depths_of, enter, head_part, read_norms
from sslm_platform.engine.precision import Autocast
from sslm_platform.engine.ranks import rank_schedule_of
from sslm_platform.engine.sliced import slice_of
from sslm_platform.engine.task_gradients import SliceGradients, TaskGradients
from sslm_platform.engine.weights import check_names
from sslm_platform.errors import Problem, SpecError
from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.spec.schema import EngineSpec, GradientScope


class LocalEngine:
    """See :class:`~sslm_platform.engine.base.Engine`. In bf16, weights stay fp32 and products are bf16."""

    rank = 0
    world_size = 1

    def __init__(
        self,
        spec: EngineSpec,
        optimizer: OptimizerSpec,
        encoder: nn.Module,
        heads: Mapping[str, nn.Module],
        device: torch.device,
        gradients_of: GradientScope | None = None,
    ) -> None:
        self.device = device
        encoder.to(device)
        self.heads: Mapping[str, nn.Module] = {name: head.to(device) for name, head in heads.items()}
        self._encoder = Part("encoder", encoder, optimizer, optimizer.lr, depths_of(encoder, optimizer))
        self._encoder.anchor(self._encoder.parameters.values())
        if gradients_of != "all" and optimizer.consolidate is None and optimizer.decay_to != "start":
            self._encoder.spare_tables()
        self.consolidation: Consolidation | None = None
        if optimizer.consolidate is not None:
            if not self._encoder.parameters:
                what = "holds what the encoder has learned, and all of it is frozen"
                raise SpecError(Problem("optimizer.consolidate", what))
            strength = optimizer.consolidate.strength
            self.consolidation = Consolidation("encoder", self._encoder.parameters, strength)
        self._ranks = rank_schedule_of(encoder)
        self.task_gradients: TaskGradients | None = None
        called: nn.Module = encoder
        if gradients_of == "last_layer":
            called = sliced = slice_of(encoder)
            self.task_gradients = SliceGradients(sliced)
        elif gradients_of == "all":
            self.task_gradients = TaskGradients(self._encoder.parameters)
        self.encoder = Autocast(called) if spec.precision == "bf16" else called
        head_rate = optimizer.head_lr or optimizer.lr
        self._heads = {
            name: Part(head_part(name), head, optimizer, head_rate) for name, head in self.heads.items()
        }

    def start_step(self, num_backwards: int, phase: Phase = EVERYTHING) -> None:
        """Note the phase."""
        enter(phase, [self._encoder], self._heads.values())

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients."""
        loss.backward()

    def step(self, active_heads: Collection[str], learning_rate: float) -> dict[str, float]:
        """Clip and step the encoder and the active heads, unless a norm is not finite."""
        if self.consolidation is not None:
            self.consolidation.pull()
        if self._ranks is not None:
            self._ranks.pull()
        parts = {"encoder": self._encoder} | {name: self._heads[name] for name in sorted(active_heads)}
        on_device = {name: part.norm() for name, part in parts.items()}
        norms = read_norms(on_device)
        if all_finite(norms):
            for name, part in parts.items():
                part.clip(on_device[name])
                part.step(learning_rate)
            if self._ranks is not None:
                self._ranks.stepped(self._encoder.phase.step, self._encoder.phase.num_steps)
        for part in (self._encoder, *self._heads.values()):
            part.clear_gradients()
        return norms

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return a copy."""
        return tensor.clone()

    def all_gather_objects(self, value: Any) -> list[Any]:
        """Return the value as JSON carries it."""
        return [json.loads(json.dumps(value))]

    def barrier(self) -> None:
        """Wait for nobody."""

    def encoder_state(self) -> TensorDict:
        """Return the encoder's weights."""
        return self._encoder.weights()

    def head_states(self) -> dict[str, TensorDict]:
        """Return each head's weights."""
        return {name: part.weights() for name, part in self._heads.items()}

    def load_weights(self, encoder: Mapping[str, Tensor], heads: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Write weights in place."""
        check_names("heads", heads, self.heads)
        self._encoder.load_weights(encoder)
        for name, part in self._heads.items():
            part.load_weights(heads[name])

    def optimizer_state(self) -> TensorDict:
        """Return all parts' moments and step counts."""
        state = self._encoder.optimizer_state()
        for part in self._heads.values():
            state |= part.optimizer_state()
        state |= self._ranks.state() if self._ranks else {}
        return state | (self.consolidation.state() if self.consolidation else {})

    def load_optimizer_state(self, state: Mapping[str, Tensor]) -> None:
        """Write all parts' moments and step counts."""
        for part in (self._encoder, *self._heads.values()):
            part.load_optimizer_state(state)
        if self.consolidation is not None:
            self.consolidation.load_state(state)
        if self._ranks is not None:
            self._ranks.load_state(state)

    def averaged(self) -> AbstractContextManager[None]:
        """Put averages in the weights' place."""
        return averaged((self._encoder, *self._heads.values()))

    def close(self) -> None:
        """Leave the encoder's tables as they were."""
        self._encoder.release_tables()
