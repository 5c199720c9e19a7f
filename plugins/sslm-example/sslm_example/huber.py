"""The objective: examples to targets, outputs and targets to losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from sslm_platform.api import Encoded, Targets, TaskBatch


class Huber:
    """Huber's loss (1964): e^2 / 2 up to ``delta``, then delta (|e| - delta / 2); every example weighs 1."""

    def __init__(self, delta: float) -> None:
        self.delta = delta

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Read each example's ``value``; nothing is random, so the generators stay untouched."""
        values_B = torch.tensor([float(example.values["value"]) for example in examples])
        return TaskBatch({"labels": values_B}, weight_B=torch.ones(len(examples)))

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return one loss for each example, (B,); the platform sums and divides."""
        return huber_loss(outputs.float(), targets["labels"], reduction="none", delta=self.delta)
