"""Squared error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sslm_objectives.rows import marker_targets
from sslm_platform.api import Encoded, Targets, TaskBatch


class MeanSquaredError:
    """(output - value) squared, in the value's unit squared; every example weighs 1."""

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Read each example's ``value``."""
        values_B = torch.tensor([float(example.values["value"]) for example in examples])
        return TaskBatch({"labels": values_B, **marker_targets(examples)}, torch.ones(len(examples)))

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) squared errors of outputs (B,)."""
        return (outputs.float() - targets["labels"]).square()
