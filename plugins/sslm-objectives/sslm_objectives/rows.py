"""What objectives with several targets in an example share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sslm_platform.api import Targets

UNKNOWN = -1  # id of a label that the training split does not have


def concatenate(arrays: Sequence[np.ndarray]) -> Tensor:
    """Join integer arrays, none included, into one int64 tensor."""
    return torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *arrays]).astype(np.int64, copy=False))


def example_index(sizes: Sequence[int]) -> Tensor:
    """Return the example of each row, (sum of sizes,), when example ``i`` has ``sizes[i]`` rows."""
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.int64))


def row_cross_entropy(
    logits_NC: Tensor, targets: Targets, num_examples: int, label_smoothing: float = 0.0
) -> Tensor:
    """Return each example's sum of its rows' cross entropies in nats, (B,); UNKNOWN labels add nothing."""
    loss_N = cross_entropy(
        logits_NC.float(),
        targets["labels"],
        reduction="none",
        label_smoothing=label_smoothing,
        ignore_index=UNKNOWN,
    )
    return loss_N.new_zeros(num_examples).index_add(0, targets["example"], loss_N)
