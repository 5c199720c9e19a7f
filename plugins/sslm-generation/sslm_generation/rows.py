"""Targets of texts: a row for each token, each predicted from those before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sslm_platform.api import Encoded, Targets, TaskBatch


def text_targets(labels: Sequence[Sequence[int] | np.ndarray]) -> tuple[dict[str, Tensor], Tensor]:
    """Return the targets of B texts, their tokens in order, and how many each has, (B,) floats."""
    sizes = torch.tensor([len(ids) for ids in labels], dtype=torch.int64)
    targets = {
        "labels": torch.tensor([int(token) for ids in labels for token in ids], dtype=torch.int64),
        "example": torch.repeat_interleave(torch.arange(len(labels)), sizes),
        "position": torch.cat([torch.arange(size) for size in sizes.tolist()]),
    }
    return targets, sizes.float()


def text_losses(outputs: Tensor, targets: Targets, num_examples: int, smoothing: float = 0.0) -> Tensor:
    """Return the summed cross-entropy of each example's tokens, (B,), in nats.

    With smoothing s each target is (1 - s) · its token + s · uniform (Vaswani et al. 2017, 5.4).
    """
    loss_N = cross_entropy(outputs.float(), targets["labels"], reduction="none", label_smoothing=smoothing)
    return loss_N.new_zeros(num_examples).index_add(0, targets["example"], loss_N)


def text_of(example: Encoded) -> np.ndarray:
    """Return the ids of an example's text, (T,): all but its special tokens."""
    return example.input_ids_L[~example.special_L.astype(bool)]


def corrupted_batch(
    examples: Sequence[Encoded], shown: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> TaskBatch:
    """Return a batch whose encoder reads other texts than the examples', no longer ones.

    Args:
        examples: B examples.
        shown: of each, the tokens that take the place of its text.
        labels: of each, the tokens to be written.
    """
    targets, weight_B = text_targets(labels)
    ids = [_with_text(example, text_T) for example, text_T in zip(examples, shown, strict=True)]
    return TaskBatch(targets, weight_B, ids, [np.zeros(len(ids_L), dtype=np.int64) for ids_L in ids])


def _with_text(example: Encoded, text_T: np.ndarray) -> np.ndarray:
    """Return the example's ids with these where its text was; special tokens stay around it."""
    places = np.flatnonzero(~example.special_L.astype(bool))
    if not len(places):
        return example.input_ids_L.copy()
    return np.concatenate([example.input_ids_L[: places[0]], text_T, example.input_ids_L[places[-1] + 1 :]])
