"""A task's fields: columns of its stream, parsed to what the field's kind says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from sslm_platform.data.field_table import COMPLETE, CONTENT, SplitFacts, field_table, is_number
from sslm_platform.data.load import StreamRows
from sslm_platform.data.splits import SPLITS
from sslm_platform.data.tables import ROWS_AT_ONCE
from sslm_platform.data.tags import tag_set
from sslm_platform.errors import DataError, Problem, raise_all, suggest
from sslm_platform.kinds import Field, FieldKind
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.schema import FieldSpec, TaskSpec


@dataclass(frozen=True, slots=True, eq=False)
class TaskSplit:
    """The rows of a split that have all of a task's fields.

    Attributes:
        rows: (N,) int64, increasing: their places in ``StreamRows.splits``.
        facts: what is known of their values without reading them.
    """

    rows: np.ndarray
    facts: SplitFacts
    _table: pa.Table
    _columns: Mapping[str, datasets.Dataset]

    def __len__(self) -> int:
        return len(self.rows)

    def values(self, field: str, rows: Sequence[int] | np.ndarray) -> list[Any]:
        """Return a field's values, read from disk.

        Args:
            field: its name.
            rows: some of ``self.rows``.

        Returns:
            ``str`` (text, label), ``float`` (value) or ``list[str]`` (tokens, labels, and tags in BIO).
        """
        column = self._columns[field]
        return column[np.asarray(rows).tolist()][column.column_names[0]] if len(rows) else []

    def content_hashes(self) -> np.ndarray:
        """Return (N,) uint64, hashes of the inputs without regard to case and spacing."""
        return self._table.column(CONTENT).to_numpy()[self.rows]

    def all_values(self, field: str) -> Iterator[Any]:
        """Yield a field's values of all rows, a few in memory at a time."""
        for start in range(0, len(self), ROWS_AT_ONCE):
            yield from self.values(field, self.rows[start : start + ROWS_AT_ONCE])


@dataclass(frozen=True, slots=True, eq=False)
class TaskRows:
    """A task's values; ``inputs`` are the (field, column) pairs that the encoder reads, sorted."""

    identity: str
    inputs: tuple[tuple[str, str], ...]
    kinds: Mapping[str, FieldKind]
    splits: Mapping[SplitName, TaskSplit]


def read_task(
    rows: StreamRows, task: TaskSpec, needs: Mapping[str, Field], where: str, *, cache: Path
) -> TaskRows:
    """Parse a task's fields in all splits, or open what an earlier run has parsed.

    A row without a value (null, an empty text, a number in no bin, a value not in ``map``) is left out.

    Args:
        rows: the stream.
        task: the spec's section.
        needs: the fields that the objective reads.
        where: key path of the task, for messages.
        cache: folder of all caches.

    Raises:
        DataError: with every problem: a missing column, values of another kind, tags of another length than
            tokens.
    """
    problems: list[Problem] = []
    specs = {name: s if isinstance(s, FieldSpec) else FieldSpec(column=s) for name, s in task.fields.items()}
    for name, spec in specs.items():
        lacking = [split for split in SPLITS if spec.column not in rows.splits[split].column_names]
        if lacking:
            known = suggest(spec.column, rows.splits[lacking[0]].column_names)
            what = f"no column {spec.column!r} in {', '.join(lacking)}{known}"
            problems.append(Problem(f"{where}.fields.{name}", what))
    raise_all(DataError, problems)
    kinds = {name: needs[name].kind for name in specs}
    splits = {}
    for split in SPLITS:
        try:
            splits[split] = _read_split(rows, split, specs, kinds, f"{where}.fields", cache)
        except DataError as error:
            problems.extend(error.problems)
    raise_all(DataError, problems)
    inputs = tuple(sorted((name, spec.column) for name, spec in specs.items() if needs[name].is_read))
    return TaskRows(f"{task.name}@{rows.domain}", inputs, kinds, splits)


def label_names(tasks: Sequence[TaskRows], needs: Mapping[str, Field]) -> tuple[str, ...]:
    """Return the labels of a head that these tasks share: the union over their training splits.

    Labels are sorted (as numbers where all are numbers). Tags begin with ``O``; then come, for each type in
    order of name, ``B-`` and ``I-``, both always. Empty where no field has labels.
    """
    values: dict[FieldKind, set[str]] = {
        kind: set() for kind in (FieldKind.LABEL, FieldKind.LABELS, FieldKind.TAGS)
    }
    for task in tasks:
        for name, counts in task.splits["train"].facts.counts.items():
            values[needs[name].kind].update(counts)
    if values[FieldKind.TAGS]:
        return tag_set(sorted(values[FieldKind.TAGS]))
    labels = values[FieldKind.LABEL] | values[FieldKind.LABELS]
    numbers = all(map(_is_finite, labels))
    return tuple(sorted(labels, key=lambda text: (float(text) if numbers else 0.0, text)))  # 1 and 1.0 differ


def _is_finite(text: str) -> bool:
    return is_number(text) and bool(np.isfinite(float(text)))


def _read_split(
    stream: StreamRows,
    split: SplitName,
    specs: Mapping[str, FieldSpec],
    kinds: Mapping[str, FieldKind],
    where: str,
    cache: Path,
) -> TaskSplit:
    rows = stream.splits[split]
    key = (stream.fingerprint, split)
    table, facts = field_table(rows, split, specs, kinds, key=key, cache=cache, where=where)
    stored = datasets.Dataset(table, fingerprint=f"{stream.fingerprint}-{split}")
    columns = {
        name: rows.select_columns(spec.column) if kinds[name].is_input else stored.select_columns(name)
        for name, spec in specs.items()
    }
    return TaskSplit(np.flatnonzero(table.column(COMPLETE).to_numpy()), facts, table, columns)
