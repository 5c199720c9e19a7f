"""Feeds: the examples that one encoder call serves, for all tasks that read the same input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from sslm_platform.data.encodings import Encodings
from sslm_platform.data.fields import TaskRows, TaskSplit
from sslm_platform.data.load import StreamRows
from sslm_platform.data.splits import SPLITS
from sslm_platform.data.token_cache import encode_rows, tokenizer_digest
from sslm_platform.errors import DataError, Problem
from sslm_platform.interfaces import Encoded
from sslm_platform.kinds import FieldKind
from sslm_platform.spec.data import LimitSpec, SplitName

UNKNOWN = -1  # id of a label that a label set does not have


@dataclass(frozen=True, slots=True, eq=False)
class FeedSplit:
    """N examples, and each task's view of them.

    Attributes:
        lengths_N: int32, tokens of each example, as often as they are read: special ones included, truncated.
        keys_N: uint64, each example's identity: a hash of its content, the same wherever it stands.
        rows_N: int64, places in the stream's split.
    """

    lengths_N: np.ndarray
    keys_N: np.ndarray
    rows_N: np.ndarray
    _encodings: Encodings
    _tasks: Mapping[str, TaskSplit]
    _kinds: Mapping[str, Mapping[str, FieldKind]]

    def __len__(self) -> int:
        return len(self.rows_N)

    def encoded(self, task: str, rows: Sequence[int], labels: tuple[str, ...]) -> list[Encoded]:
        """Return examples as a task sees them.

        Args:
            task: its identity.
            rows: places in this split, 0 to N - 1.
            labels: names by id; a label that is not among them gets the id -1.
        """
        ids = {name: i for i, name in enumerate(labels)}
        places = self.rows_N[np.asarray(rows, dtype=np.int64)]
        targets: dict[str, Iterable[Any]] = {
            field: map(_to_ids(kind, ids), self._tasks[task].values(field, places))
            for field, kind in self._kinds[task].items()
            if not kind.is_input
        }
        for field, kind in self._kinds[task].items():
            if kind is FieldKind.ANSWERS:  # which mean nothing without it
                contexts = self._tasks[task].values("context", places)
                pairs = zip(contexts, targets[field], strict=True)
                targets[field] = ({"context": context, "answers": found} for context, found in pairs)
        columns = zip(*targets.values(), strict=True) if targets else repeat(())
        return [
            self._encodings.example(row, dict(zip(targets, values, strict=True)))
            for row, values in zip(places.tolist(), columns, strict=bool(targets))
        ]

    def partner(self, task: str, row: int, generator: np.random.Generator) -> Encoded:
        """Return another example of the stream's split, whatever a limit leaves of it; without targets.

        Args:
            task: its identity.
            row: place of the example in this split.
            generator: draws it.
        """
        every = self._tasks[task].rows
        own = int(np.searchsorted(every, self.rows_N[row]))
        drawn = int(generator.integers(max(len(every) - 1, 1)))
        place = min(drawn + (drawn >= own), len(every) - 1)
        return self._encodings.example(int(every[place]), {})

    def tag_fields(self, task: str) -> tuple[str, ...]:
        """Return the task's fields that have a value for each word."""
        return tuple(field for field, kind in self._kinds[task].items() if kind is FieldKind.TAGS)

    def values(self, task: str, field: str) -> list[Any]:
        """Return a field's values of all examples, as parsed."""
        return self._tasks[task].values(field, self.rows_N)

    def take(self, rows: np.ndarray) -> FeedSplit:
        """Return the split of some of the examples; ``rows`` are places in this split, 0 to N - 1."""
        return replace(
            self, lengths_N=self.lengths_N[rows], keys_N=self.keys_N[rows], rows_N=self.rows_N[rows]
        )

    def count_tokens(self, token_id: int) -> tuple[int, int]:
        """Return how many tokens of the stream's split have this id, and how many there are.

        Special tokens are left out; examples that a limit leaves out are not.
        """
        return self._encodings.count(token_id)


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Examples that have the fields of all of the feed's tasks.

    Attributes:
        name: the stream's name, or ``stream/task`` for a task that cannot share its input.
        tasks: identities.
    """

    name: str
    tasks: tuple[str, ...]
    stream: str
    splits: Mapping[SplitName, FeedSplit]


def build_feed(
    rows: StreamRows,
    tasks: Mapping[str, TaskRows],
    name: str,
    tokenizer: Any,
    *,
    max_length: int,
    limit: LimitSpec,
    seed: int,
    cache: Path,
    room: int = 0,
    readings: int = 1,
) -> Feed:
    """Tokenize a stream for tasks that read the same input.

    Args:
        rows: the stream.
        tasks: identity to values.
        name: the feed's name.
        tokenizer: a fast ``transformers`` tokenizer.
        max_length: in tokens, special ones included.
        limit: largest number of examples of each split. The training examples are drawn by ``seed``; those of
            dev and test are the ones whose key is smallest, the same in every run.
        seed: of the training subsample.
        cache: folder of all caches; the tokens are kept there, for all rows of the stream.
        room: tokens of ``max_length`` that are kept for a target which is encoded too.
        readings: how often the encoder reads each token; batches are as much smaller.

    Raises:
        DataError: the tasks read different columns.
        SpecError: the tokenizer is not a fast one.
    """
    first = next(iter(tasks.values()))
    for task in tasks.values():
        if task.inputs != first.inputs:
            what = (
                f"{first.identity} reads {_shown(first)}, {task.identity} reads {_shown(task)}: not one input"
            )
            raise DataError(Problem(name, what))
    digest = tokenizer_digest(tokenizer)
    splits = {}
    for split in SPLITS:
        encodings = encode_rows(
            rows.splits[split],
            first.inputs,
            tokenizer,
            max_length,
            key=(rows.fingerprint, split, digest),
            cache=cache,
            room=room,
        )
        common = reduce(np.intersect1d, (task.splits[split].rows for task in tasks.values()))
        drawn = _draw(
            common, rows.keys[split][common], getattr(limit, split), seed if split == "train" else None
        )
        splits[split] = _feed_split(drawn, rows.keys[split], encodings, tasks, split, readings)
    return Feed(name, tuple(tasks), rows.name, splits)


def _draw(rows_N: np.ndarray, keys_N: np.ndarray, limit: int | None, seed: int | None) -> np.ndarray:
    if limit is None or limit >= len(rows_N):
        return rows_N
    by_key = rows_N[np.argsort(keys_N, kind="stable")]  # an order that does not depend on the rows' order
    if seed is not None:
        by_key = np.random.default_rng(seed).permutation(by_key)
    return np.sort(by_key[:limit])


def _feed_split(
    rows_N: np.ndarray,
    keys_N: np.ndarray,
    encodings: Encodings,
    tasks: Mapping[str, TaskRows],
    split: SplitName,
    readings: int,
) -> FeedSplit:
    lengths_N = encodings.input_ids.lengths() * np.int32(readings)
    every = len(rows_N) == len(lengths_N)
    return FeedSplit(
        lengths_N if every else lengths_N[rows_N],
        keys_N if every else keys_N[rows_N],
        rows_N,
        encodings,
        {identity: task.splits[split] for identity, task in tasks.items()},
        {identity: task.kinds for identity, task in tasks.items()},
    )


def _to_ids(kind: FieldKind, ids: Mapping[str, int]) -> Callable[[Any], Any]:
    match kind:
        case FieldKind.LABEL:
            return lambda value: ids.get(value, UNKNOWN)
        case FieldKind.LABELS:
            return lambda value: np.array(sorted(ids.get(one, UNKNOWN) for one in value), dtype=np.int64)
        case FieldKind.TAGS:
            return lambda value: np.array([ids.get(tag, UNKNOWN) for tag in value], dtype=np.int64)
        case _:
            return lambda value: value


def _shown(task: TaskRows) -> str:
    return ", ".join(column for _, column in task.inputs)
