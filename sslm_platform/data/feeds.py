"""Feeds: the examples that one encoder call serves, for all tasks that read the same input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from sslm_platform.spec.forms import PLAIN, InputForm

UNKNOWN = -1  # id of a label that a label set does not have


@dataclass(frozen=True, slots=True, eq=False)
class FeedSplit:
    """N examples, and each task's view of them; a row may have what some of the tasks need and others not.

    Attributes:
        lengths_N: int32, tokens of each example, as often as they are read: special ones included, truncated.
        longest_N: int32, the same of the longest of its rows; most examples are one row.
        number_N: int32, how many rows each has; None where each has one, or the encoder is called for each.
        keys_N: uint64, each example's identity: a hash of its content, the same wherever it stands.
        rows_N: int64, places in the stream's split.
        groups: the tasks that an example can be of, by number.
        group_N: the number of each example's; None where every example is of all tasks.
    """

    lengths_N: np.ndarray
    longest_N: np.ndarray
    number_N: np.ndarray | None
    keys_N: np.ndarray
    rows_N: np.ndarray
    _encodings: Encodings
    _tasks: Mapping[str, TaskSplit]
    _kinds: Mapping[str, Mapping[str, FieldKind]]
    groups: tuple[tuple[str, ...], ...] = ()
    group_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows_N)

    def tasks_of(self, rows: np.ndarray) -> tuple[str, ...]:
        """Return the tasks of the examples of one group; ``rows`` are places in this split."""
        return tuple(self._tasks) if self.group_N is None else self.groups[self.group_N[rows[0]]]

    def parts(self) -> Iterator[tuple[np.ndarray, tuple[str, ...]]]:
        """Yield each group that has examples, as places in this split, with its tasks."""
        if self.group_N is None:
            yield np.arange(len(self)), tuple(self._tasks)
            return
        for number in np.unique(self.group_N).tolist():
            yield np.flatnonzero(self.group_N == number), self.groups[number]

    def of(self, task: str) -> FeedSplit:
        """Return the split of a task's own examples."""
        if self.group_N is None:
            return self
        return replace(self.take(np.flatnonzero(self.has(task))), group_N=None)

    def places_of(self, task: str, rows: np.ndarray) -> np.ndarray:
        """Return where examples of a task, places in this split, are among the task's own."""
        return rows if self.group_N is None else (np.cumsum(self.has(task)) - 1)[rows]

    def has(self, task: str) -> np.ndarray:
        """Return which examples are of a task, (N,) bool."""
        if self.group_N is None:
            return np.ones(len(self), dtype=bool)
        return np.array([task in group for group in self.groups])[self.group_N]

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
        """Return a field's values of all examples, as parsed; all must be of the task."""
        return self._tasks[task].values(field, self.rows_N)

    def take(self, rows: np.ndarray) -> FeedSplit:
        """Return the split of some of the examples; ``rows`` are places in this split, 0 to N - 1."""
        return replace(
            self,
            lengths_N=self.lengths_N[rows],
            longest_N=self.longest_N[rows],
            number_N=None if self.number_N is None else self.number_N[rows],
            keys_N=self.keys_N[rows],
            rows_N=self.rows_N[rows],
            group_N=None if self.group_N is None else self.group_N[rows],
        )

    def padded_tokens(self, rows: np.ndarray) -> int:
        """Return the tokens of a batch of these examples, padded to their longest row."""
        number = len(rows) if self.number_N is None else int(self.number_N[rows].sum())
        return number * int(self.longest_N[rows].max())

    def count_tokens(self, token_id: int) -> tuple[int, int]:
        """Return how many tokens of the stream's split have this id, and how many there are.

        Special tokens are left out; examples that a limit leaves out are not.
        """
        return self._encodings.count(token_id)


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Examples that have the fields of at least one of the feed's tasks.

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
    form: InputForm = PLAIN,
    limit: LimitSpec,
    seed: int,
    cache: Path,
    room: int = 0,
    readings: int = 1,
    rows_apart: bool = False,
) -> Feed:
    """Tokenize a stream for tasks that read the same input.

    Args:
        rows: the stream.
        tasks: identity to values.
        name: the feed's name.
        tokenizer: a fast ``transformers`` tokenizer.
        max_length: in tokens, special ones included.
        form: how the inputs are put before the encoder.
        limit: largest number of examples of each split. The training examples are drawn by ``seed``; those of
            dev and test are the ones whose key is smallest, the same in every run.
        seed: of the training subsample.
        cache: folder of all caches; the tokens are kept there, for all rows of the stream.
        room: tokens of ``max_length`` that are kept for a target which is encoded too.
        readings: how often the encoder reads each token; batches are as much smaller.
        rows_apart: whether the encoder is called for each of an example's rows, and not for all at once.

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
            form,
            key=(rows.fingerprint, split, digest),
            cache=cache,
            room=room,
        )
        drawn = {}
        for identity, task in tasks.items():
            own = task.splits[split].rows
            keys_N, most = rows.keys[split][own], getattr(limit, split)
            drawn[identity] = _draw(own, keys_N, most, seed if split == "train" else None)
        lengths_N = encodings.input_ids.lengths() * np.int32(readings)
        several = None if rows_apart else encodings.windows()
        shapes = (lengths_N, None) if several is None else (several[1] * np.int32(readings), several[0])
        splits[split] = _feed_split(drawn, lengths_N, shapes, rows.keys[split], encodings, tasks, split)
    return Feed(name, tuple(tasks), rows.name, splits)


def _draw(rows_N: np.ndarray, keys_N: np.ndarray, limit: int | None, seed: int | None) -> np.ndarray:
    if limit is None or limit >= len(rows_N):
        return rows_N
    by_key = rows_N[np.argsort(keys_N, kind="stable")]  # an order that does not depend on the rows' order
    if seed is not None:
        by_key = np.random.default_rng(seed).permutation(by_key)
    return np.sort(by_key[:limit])


def _grouped(
    drawn: Mapping[str, np.ndarray],
) -> tuple[np.ndarray, tuple[tuple[str, ...], ...], np.ndarray | None]:
    """Return the rows of any task, the sets of tasks that a row is of, and the number of each row's."""
    first, *others = drawn.values()
    if all(np.array_equal(first, other) for other in others):
        return first, (), None
    rows_N = np.unique(np.concatenate(list(drawn.values())))
    is_of_NT = np.column_stack([np.isin(rows_N, own, assume_unique=True) for own in drawn.values()])
    sets_GT, group_N = np.unique(is_of_NT, axis=0, return_inverse=True)
    names = list(drawn)
    return rows_N, tuple(tuple(names[t] for t in np.flatnonzero(g)) for g in sets_GT), group_N.reshape(-1)


def _feed_split(
    drawn: Mapping[str, np.ndarray],
    lengths_N: np.ndarray,
    shapes: tuple[np.ndarray, np.ndarray | None],
    keys_N: np.ndarray,
    encodings: Encodings,
    tasks: Mapping[str, TaskRows],
    split: SplitName,
) -> FeedSplit:
    rows_N, groups, group_N = _grouped(drawn)
    every = slice(None) if len(rows_N) == len(lengths_N) else rows_N
    return FeedSplit(
        lengths_N[every],
        shapes[0][every],
        None if shapes[1] is None else shapes[1][every],
        keys_N[every],
        rows_N,
        encodings,
        {identity: task.splits[split] for identity, task in tasks.items()},
        {identity: task.kinds for identity, task in tasks.items()},
        groups,
        group_N,
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
