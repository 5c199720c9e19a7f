"""Token-budget batches, padded inputs, and each example's own random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sslm_platform.interfaces import Encoded

_BATCHES_PER_POOL = 50  # larger pools pad less, smaller ones mix better


@dataclass(frozen=True, slots=True)
class EncoderInputs:
    """What the encoder reads: ids (int64), mask (bool, True for tokens), segments (int64) of text pairs."""

    input_ids_BL: Tensor
    mask_BL: Tensor
    segment_BL: Tensor | None


def plan_batches(lengths_N: np.ndarray, tokens_per_batch: int, seed_key: tuple[int, ...]) -> list[np.ndarray]:
    """Cut one pass over N examples into batches of examples of similar length.

    Shuffled examples are sorted within pools, each pool is cut, and the batches are shuffled.

    Args:
        lengths_N: tokens of each example.
        tokens_per_batch: largest number of padded tokens (examples x longest); an example longer
            than that is a batch of its own.
        seed_key: seed, and whatever else names this pass (feed, epoch); non-negative.

    Returns:
        Places of each batch's examples; every example is in exactly one. A pure function of its arguments.
    """
    generator = np.random.default_rng(seed_key)
    order_N = generator.permutation(len(lengths_N))
    num_pools = max(1, round(int(lengths_N.sum()) / (tokens_per_batch * _BATCHES_PER_POOL)))
    batches: list[np.ndarray] = []
    for pool in np.array_split(order_N, num_pools):
        by_length = pool[np.argsort(lengths_N[pool], kind="stable")]
        batches += np.split(by_length, _cuts(lengths_N[by_length], tokens_per_batch)) if len(pool) else []
    return [batches[i] for i in generator.permutation(len(batches))]


def _cuts(increasing_N: np.ndarray, budget: int) -> list[int]:
    """Return where to cut, so that size x last (the longest) stays within the budget."""
    cuts, start = [], 0
    for end, length in enumerate(increasing_N.tolist()):
        if end > start and (end - start + 1) * length > budget:
            cuts.append(end)
            start = end
    return cuts


def collate_inputs(
    examples: Sequence[Encoded], input_ids: Sequence[np.ndarray] | None, pad_id: int
) -> EncoderInputs:
    """Pad examples on the right.

    Args:
        examples: B examples, at least one.
        input_ids: ids that replace the examples' own (an objective that changes the input), or None.
        pad_id: the id to pad with.
    """
    ids = input_ids if input_ids is not None else [example.input_ids_L for example in examples]
    shape = (len(ids), max(len(row) for row in ids))
    input_ids_BL = np.full(shape, pad_id, dtype=np.int64)
    mask_BL = np.zeros(shape, dtype=bool)
    segment_BL = np.zeros(shape, dtype=np.int64) if examples[0].segment_L is not None else None
    for row, (example, row_ids) in enumerate(zip(examples, ids, strict=True)):
        input_ids_BL[row, : len(row_ids)] = row_ids
        mask_BL[row, : len(row_ids)] = True
        if segment_BL is not None and example.segment_L is not None:
            segment_BL[row, : len(row_ids)] = example.segment_L
    return EncoderInputs(
        torch.from_numpy(input_ids_BL),
        torch.from_numpy(mask_BL),
        None if segment_BL is None else torch.from_numpy(segment_BL),
    )


def example_generator(seed: int, epoch: int, key: int) -> np.random.Generator:
    """Return the random numbers of one example in one pass: the same on every rank and in any batch.

    Counter-based (Philox 4x64; Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"): (seed,
    key) is the cipher's key, the epoch the counter's highest word, so that no two examples or passes overlap.

    Args:
        seed: 0 to 2^64 - 1.
        epoch: 0 to 2^64 - 1.
        key: the example's, 0 to 2^64 - 1.
    """
    cipher_key = np.array([seed, key], dtype=np.uint64)
    counter = np.array([0, 0, 0, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=cipher_key, counter=counter))
