"""Token-budget batches, padded inputs, and each example's own random numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import overload

import numpy as np
import torch
from torch import Tensor

from sslm_platform.data.windows import windows_of
from sslm_platform.interfaces import Encoded

_BATCHES_PER_POOL = 50  # larger pools pad less, smaller ones mix better


@dataclass(frozen=True, slots=True)
class EncoderInputs:
    """What the encoder reads: ids (int64), mask (bool, True for tokens), segments (int64) of text pairs.

    ``windows_B`` is how many rows each example has. With several encoder calls ``lengths_CR``, int64, gives
    the tokens of the rows that each call reads, and 0 for the others.
    """

    input_ids_BL: Tensor
    mask_BL: Tensor
    segment_BL: Tensor | None
    windows_B: np.ndarray
    lengths_CR: Tensor | None = None


class Batches(Sequence[np.ndarray]):
    """The batches of one pass: B arrays of places, in 4 bytes an example."""

    def __init__(self, places_N: np.ndarray, bounds_B2: np.ndarray) -> None:
        self._places_N = places_N
        self._bounds_B2 = bounds_B2

    def __len__(self) -> int:
        return len(self._bounds_B2)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> Batches: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | Batches:
        """Return one batch, or some."""
        if isinstance(index, slice):
            return Batches(self._places_N, self._bounds_B2[index])
        start, end = self._bounds_B2[index]
        return self._places_N[start:end]


def plan_batches(
    lengths_N: np.ndarray,
    tokens_per_batch: int,
    seed_key: tuple[int, ...],
    group_N: np.ndarray | None = None,
    number_N: np.ndarray | None = None,
) -> Batches:
    """Cut one pass over N examples into batches of examples of similar length.

    Shuffled examples are sorted within pools, each pool is cut, and the batches are shuffled.

    Args:
        lengths_N: tokens of each example, or of its longest row.
        tokens_per_batch: largest number of padded tokens (rows x longest); an example longer than that is
            a batch of its own.
        seed_key: seed, and whatever else names this pass (feed, epoch); non-negative.
        group_N: number of each example's group: those of two groups are never in one batch. None: all are
            of one.
        number_N: rows of each example. None: one each.

    Returns:
        Places of each batch's examples; every example is in exactly one. A pure function of its arguments.
    """
    generator = np.random.default_rng(seed_key)
    places_N = generator.permutation(np.arange(len(lengths_N), dtype=np.int32))
    sizes = [len(places_N)]
    if group_N is not None:
        places_N = places_N[np.argsort(group_N[places_N], kind="stable")]
        sizes = np.bincount(group_N).tolist()
    starts, start = [], 0
    for group in np.split(places_N, np.cumsum(sizes)[:-1]):
        size = lengths_N[group] if number_N is None else lengths_N[group] * number_N[group].astype(np.int64)
        num_pools = max(1, round(int(size.sum()) / (tokens_per_batch * _BATCHES_PER_POOL)))
        for pool in np.array_split(group, num_pools):  # views: sorted in place
            pool[:] = pool[np.argsort(lengths_N[pool], kind="stable")]
            numbers = repeat(1) if number_N is None else number_N[pool].tolist()
            cuts = _cuts(lengths_N[pool], numbers, tokens_per_batch)
            starts += [start + cut for cut in (0, *cuts) if len(pool)]
            start += len(pool)
    bounds_B2 = np.column_stack([starts, [*starts[1:], start]]) if starts else np.empty((0, 2), np.int64)
    return Batches(places_N, bounds_B2[generator.permutation(len(bounds_B2))])


def _cuts(increasing_N: np.ndarray, numbers: Iterable[int], budget: int) -> list[int]:
    """Return where to cut, so that rows x last (the longest) stays within the budget."""
    cuts, rows = [], 0
    for end, (length, number) in enumerate(zip(increasing_N.tolist(), numbers, strict=False)):
        if rows and (rows + number) * length > budget:
            cuts.append(end)
            rows = 0
        rows += number
    return cuts


def collate_inputs(
    examples: Sequence[Encoded],
    input_ids: Sequence[np.ndarray] | None,
    pad_id: int,
    segments: Sequence[np.ndarray] | None = None,
    windows: Sequence[np.ndarray] | None = None,
    calls: Sequence[np.ndarray] | None = None,
    num_calls: int = 1,
) -> EncoderInputs:
    """Pad examples on the right; each window of an example is a row.

    Args:
        examples: B examples, at least one.
        input_ids: ids that replace the examples' own (an objective that changes the input), or None.
        pad_id: the id to pad with.
        segments: go with the ids that replace the examples' own; None for the examples'.
        windows: where the rows begin in the ids that replace the examples' own; None for the examples'.
        calls: which encoder call reads each row of each example.
        num_calls: how many there are.
    """
    ids = input_ids if input_ids is not None else [example.input_ids_L for example in examples]
    numbers = segments if segments is not None else [example.segment_L for example in examples]
    starts = windows if windows is not None else [example.window_S for example in examples]
    id_rows = _rows(ids, starts)
    shape = (len(id_rows), max(len(row) for row in id_rows))
    input_ids_BL = np.full(shape, pad_id, dtype=np.int64)
    mask_BL = np.zeros(shape, dtype=bool)
    for row, row_ids in enumerate(id_rows):
        input_ids_BL[row, : len(row_ids)] = row_ids
        mask_BL[row, : len(row_ids)] = True
    segment_BL = None
    if numbers[0] is not None:
        segment_BL = np.zeros(shape, dtype=np.int64)
        for row, number_L in enumerate(_rows([n for n in numbers if n is not None], starts)):
            segment_BL[row, : len(number_L)] = number_L
    return EncoderInputs(
        torch.from_numpy(input_ids_BL),
        torch.from_numpy(mask_BL),
        None if segment_BL is None else torch.from_numpy(segment_BL),
        np.array([1 if window_S is None else len(window_S) for window_S in starts]),
        None if num_calls == 1 else _lengths_by_call(id_rows, calls, num_calls),
    )


def _rows(arrays: Sequence[np.ndarray], starts: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Split what belongs to the examples' tokens into rows."""
    pairs = zip(arrays, starts, strict=True)
    return [row for tokens_L, window_S in pairs for row in windows_of(tokens_L, window_S)]


def _lengths_by_call(
    id_rows: Sequence[np.ndarray], calls: Sequence[np.ndarray] | None, num_calls: int
) -> Tensor:
    assert calls is not None, "an objective of several encoder calls gives TaskBatch.calls"
    call_R = np.concatenate(calls)
    lengths_R = np.array([len(row) for row in id_rows])
    return torch.from_numpy(np.where(call_R == np.arange(num_calls)[:, None], lengths_R, 0))


def example_generator(seed: int, epoch: int, key: int, stream: int = 0) -> np.random.Generator:
    """Return the random numbers of one example in one pass: the same on every rank and in any batch.

    Counter-based (Philox 4x64; Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"): (seed,
    key) is the cipher's key, epoch and stream are the counter's highest words, so that no two examples,
    passes or streams overlap.

    Args:
        seed: 0 to 2^64 - 1.
        epoch: 0 to 2^64 - 1.
        key: the example's, 0 to 2^64 - 1.
        stream: 0 for what objectives draw, 1 for what wrappers do, 2 for augmenters, 3 for partners.
    """
    cipher_key = np.array([seed, key], dtype=np.uint64)
    counter = np.array([0, 0, stream, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=cipher_key, counter=counter))


class ExampleGenerators(Sequence[np.random.Generator]):
    """Each example's random numbers in one pass, made when first asked for: most objectives draw none.

    Args:
        key: (seed, epoch) of :func:`example_generator`.
        keys_B: the examples' own part of it.
        stream: as there.
    """

    def __init__(self, key: tuple[int, int], keys_B: np.ndarray, stream: int = 0) -> None:
        self._key = key
        self._keys_B = keys_B
        self._stream = stream
        self._made: dict[int, np.random.Generator] = {}

    def __len__(self) -> int:
        return len(self._keys_B)

    @overload
    def __getitem__(self, index: int) -> np.random.Generator: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.random.Generator]: ...
    def __getitem__(self, index: int | slice) -> np.random.Generator | list[np.random.Generator]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        if place not in self._made:
            self._made[place] = example_generator(*self._key, int(self._keys_B[place]), self._stream)
        return self._made[place]
