"""A slot's batch passed through encoder, head and objective more than once, for a wrapped objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sslm_platform.engine.base import Engine
from sslm_platform.evaluate import Batch
from sslm_platform.interfaces import Objective, TaskBatch
from sslm_platform.model.multitask import task_outputs
from sslm_platform.passes import Pass

if TYPE_CHECKING:
    from sslm_platform.train.loop import Training


class SlotPasses:
    """See :class:`~sslm_platform.passes.Passes`.

    Args:
        outputs: from a shift, or None, to the head's outputs.
        objective: what is wrapped.
        batch: the task's.
        mask_BL: bool, True for tokens.
        width: E, of the embeddings.
        generators: of each row's example.
    """

    def __init__(
        self,
        outputs: Callable[[Tensor | None], Tensor],
        objective: Objective,
        batch: TaskBatch,
        mask_BL: Tensor,
        width: int,
        generators: Sequence[np.random.Generator],
    ) -> None:
        self.mask_BL = mask_BL
        self._outputs = outputs
        self._objective = objective
        self._batch = batch
        self._width = width
        self._generators = generators
        self._first: Tensor | None = None

    def __call__(self, shift_BLE: Tensor | None = None) -> Pass:
        """Pass the batch through once."""
        outputs = self._outputs(shift_BLE)
        targets = self._batch.targets
        losses_B = self._objective.losses(outputs, targets, len(self._batch.weight_B))
        if self._first is None:
            self._first = losses_B.detach()
        return Pass(outputs, losses_B, targets)

    @property
    def first(self) -> Tensor:
        """The losses of the first pass, which are what is said of the training."""
        assert self._first is not None, "a wrapper passes its batch through once at least"
        return self._first

    def noise(self, draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]) -> Tensor:
        """Draw each example's noise, whatever batch or rank it is in."""
        noise_BLE = torch.zeros(*self.mask_BL.shape, self._width)
        for row, (length, generator) in enumerate(
            zip(self.mask_BL.sum(dim=1).tolist(), self._generators, strict=True)
        ):
            noise_BLE[row, :length] = torch.from_numpy(draw(generator, (length, self._width)))
        return noise_BLE.to(self.mask_BL.device)

    def gradient(self, loss: Tensor, shift_BLE: Tensor) -> Tensor:
        """Differentiate, and leave all parameters' gradients as they are."""
        return torch.autograd.grad(loss, shift_BLE)[0]


def num_backwards(training: Training, batch: Batch) -> int:
    """Return how often a slot is back-propagated."""
    wrappers = (training.model.tasks[task].wrapper for task in batch.tasks)
    return next((wrapper.num_backwards for wrapper in wrappers if wrapper is not None), 1)


def passes_of(training: Training, engine: Engine, batch: Batch) -> SlotPasses | None:
    """Return what the wrapper of a slot's task works with; None where no task of the slot has one."""
    name = next(iter(batch.tasks))  # one with a wrapper is alone
    model, part, mask_BL = training.model.tasks[name], batch.tasks[name], batch.inputs["mask_BL"]
    if model.wrapper is None:
        return None
    assert mask_BL is not None

    def outputs(shift_BLE: Tensor | None) -> Tensor:
        heads, targets = {name: model.head}, {name: part.targets}
        return task_outputs(engine.encoder, heads, batch.inputs, targets, shift_BLE)[name]

    width = training.model.encoder.embedding_size
    generators = np.repeat(np.array(batch.generators(stream=1), dtype=object), batch.windows_B)
    return SlotPasses(outputs, model.objective, part, mask_BL, width, list(generators))
