"""An encoder under DeepSpeed whose slice is outside, replicated: clipped, stepped and saved as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from sslm_platform.engine.base import TensorDict
from sslm_platform.engine.encoder_part import Others, TrunkPart, on_its_own
from sslm_platform.engine.part import Part


class _Some(Mapping[str, Tensor]):
    """Some of a mapping, looked up when asked for: the whole may not fit into memory."""

    def __init__(self, all_of: Mapping[str, Tensor], names: list[str]) -> None:
        self._all = all_of
        self._names = dict.fromkeys(names)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class SlicedPart:
    """See :class:`~sslm_platform.engine.encoder_part.EnginePart`.

    Args:
        trunk: what DeepSpeed has.
        top: the slice; its gradients are reduced before :meth:`step`.
    """

    def __init__(self, trunk: TrunkPart, top: Part) -> None:
        self._trunk = trunk
        self._top = top
        trunk.count_in(top.norm)

    def step(self, learning_rate: float, skip: bool = False, others: Others = on_its_own) -> float:
        """Reduce the trunk's gradients, clip by the norm of both, step and clear."""
        verdicts = []

        def asked(finite: bool) -> bool:
            verdicts.append(others(finite))
            return verdicts[0]

        norm = self._trunk.step(learning_rate, skip, asked)
        if verdicts[0]:
            self._top.clip(torch.tensor(norm))
            self._top.step(learning_rate)
        self._top.clear_gradients()
        return norm

    def weights(self) -> TensorDict:
        """Return the encoder's weights."""
        return self._trunk.weights() | self._top.weights()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write the encoder's weights."""
        own = self._top.module.state_dict().keys()
        self._trunk.load_weights(_Some(weights, [name for name in weights if name not in own]))
        self._top.load_weights(_Some(weights, [name for name in weights if name in own]))

    def optimizer_state(self) -> TensorDict:
        """Return the encoder's moments and step count."""
        return self._trunk.optimizer_state() | self._top.optimizer_state()

    def load_optimizer_state(self, saved: Mapping[str, Tensor]) -> None:
        """Write the encoder's moments and step count."""
        self._trunk.load_optimizer_state(saved)
        self._top.load_optimizer_state(saved)
