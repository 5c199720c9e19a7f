"""The InfoNCE loss, and which of a batch's texts are one text."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize


def info_nce(score_AC: Tensor, positive_A: Tensor, same_AC: Tensor) -> Tensor:
    """Return -log of the positive's share of exp(score), (A,) nats (van den Oord et al. 2018, equation 4).

    Chance, where all scores are equal, is the log of how many candidates count.

    Args:
        score_AC: of each anchor and candidate.
        positive_A: int64, the column of each anchor's positive.
        same_AC: bool, candidates that are as right as the positive: they are no negatives, and do not count.
    """
    left_out_AC = same_AC.clone()
    left_out_AC[torch.arange(len(positive_A), device=positive_A.device), positive_A] = False
    return torch.nn.functional.cross_entropy(
        score_AC.masked_fill(left_out_AC, float("-inf")), positive_A, reduction="none"
    )


def cosines(first_AW: Tensor, second_CW: Tensor) -> Tensor:
    """Return the cosine of each pair of vectors, (A, C)."""
    return normalize(first_AW, dim=-1) @ normalize(second_CW, dim=-1).T


def numbered(texts: Iterable[np.ndarray]) -> list[int]:
    """Return a number for each array of ids, equal ones for equal arrays."""
    known: dict[bytes, int] = {}
    return [known.setdefault(ids.astype(np.int64).tobytes(), len(known)) for ids in texts]


def summed(loss_A: Tensor, example_A: Tensor, num_examples: int) -> Tensor:
    """Return the sum of each example's losses, (B,)."""
    return loss_A.new_zeros(num_examples).index_add(0, example_A, loss_A)
