"""A task's fields: columns of its stream, parsed to what the field's kind says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np

from sslm_platform.data.load import StreamRows
from sslm_platform.data.splits import SPLITS
from sslm_platform.data.tags import tag_set
from sslm_platform.data.values import UnusableError, value_parser
from sslm_platform.errors import DataError, Problem, raise_all, suggest
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.schema import FieldSpec, TaskSpec
from sslm_platform.types import Field, FieldKind


@dataclass(frozen=True, slots=True, eq=False)
class TaskSplit:
    """The rows of a split that have all of a task's fields.

    Attributes:
        rows: (N,) int64, increasing: their places in ``StreamRows.splits``.
        fields: each field's N values: ``str`` (text, label), ``float`` (value) or ``list[str]`` (tokens, and
            tags in BIO).
        num_empty: texts (or lists of tokens) that are empty; their rows are left out.
    """

    rows: np.ndarray
    fields: Mapping[str, Sequence[Any]]
    num_empty: int = 0

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class TaskRows:
    """A task's values; ``inputs`` are the (field, column) pairs that the encoder reads, sorted."""

    identity: str
    inputs: tuple[tuple[str, str], ...]
    kinds: Mapping[str, FieldKind]
    splits: Mapping[SplitName, TaskSplit]


def read_task(rows: StreamRows, task: TaskSpec, needs: Mapping[str, Field], where: str) -> TaskRows:
    """Parse a task's fields in all splits.

    A row without a value (null, an empty text, a number in no bin, a value not in ``map``) is left out.

    Args:
        rows: the stream.
        task: the spec's section.
        needs: the fields that the objective reads.
        where: key path of the task, for messages.

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
    splits = {
        split: _read_split(rows.splits[split], split, specs, kinds, problems, f"{where}.fields")
        for split in SPLITS
    }
    raise_all(DataError, problems)
    inputs = tuple(sorted((name, spec.column) for name, spec in specs.items() if kinds[name].is_input))
    return TaskRows(f"{task.name}@{rows.domain}", inputs, kinds, splits)


def label_names(tasks: Sequence[TaskRows], needs: Mapping[str, Field]) -> tuple[str, ...]:
    """Return the labels of a head that these tasks share: the union over their training splits.

    Labels are sorted (as numbers where all are numbers). Tags begin with ``O``; then come, for each type in
    order of name, ``B-`` and ``I-``, both always. Empty where no field has labels.
    """
    values: dict[FieldKind, set[str]] = {FieldKind.LABEL: set(), FieldKind.TAGS: set()}
    for task in tasks:
        for name, column in task.splits["train"].fields.items():
            if needs[name].kind is FieldKind.LABEL:
                values[FieldKind.LABEL].update(column)
            elif needs[name].kind is FieldKind.TAGS:
                values[FieldKind.TAGS].update(tag for tags in column for tag in tags)
    if values[FieldKind.TAGS]:
        return tag_set(sorted(values[FieldKind.TAGS]))
    labels = values[FieldKind.LABEL]
    return tuple(sorted(labels, key=float if all(map(_is_number, labels)) else None))


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def _read_split(
    rows: datasets.Dataset,
    split: SplitName,
    specs: Mapping[str, FieldSpec],
    kinds: Mapping[str, FieldKind],
    problems: list[Problem],
    where: str,
) -> TaskSplit:
    columns: dict[str, list[Any]] = {}
    for name, spec in specs.items():
        parse = value_parser(kinds[name], spec, rows.features[spec.column])
        columns[name], unusable = _parse_all(parse, rows[spec.column][:])
        if unusable:
            first, complaint = unusable[0]
            what = (
                f"{len(unusable)} of {len(rows)} values in {split} cannot be used;"
                f" the first, row {first}: {complaint}"
            )
            problems.append(Problem(f"{where}.{name}", what))
    problems.extend(_lengths(columns, kinds, split, where))
    complete = [i for i, values in enumerate(zip(*columns.values(), strict=True)) if None not in values]
    empty = [name for name in columns if kinds[name].is_input]
    return TaskSplit(
        np.array(complete, dtype=np.int64),
        {name: [column[i] for i in complete] for name, column in columns.items()},
        sum(1 for name in empty for value in columns[name] if value is None),
    )


def _parse_all(parse: Any, raw: Sequence[Any]) -> tuple[list[Any], list[tuple[int, str]]]:
    values, unusable = [], []
    for row, value in enumerate(raw):
        try:
            values.append(parse(value))
        except UnusableError as error:
            values.append(None)
            unusable.append((row, str(error)))
    return values, unusable


def _lengths(
    columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, FieldKind], split: str, where: str
) -> list[Problem]:
    problems = []
    tokens = next((columns[name] for name, kind in kinds.items() if kind is FieldKind.TOKENS), None)
    for name, kind in kinds.items():
        if kind is not FieldKind.TAGS or tokens is None:
            continue
        pairs = enumerate(zip(tokens, columns[name], strict=True))
        wrong = [(i, len(w), len(t)) for i, (w, t) in pairs if w and t and len(w) != len(t)]
        if wrong:
            row, num_words, num_tags = wrong[0]
            what = (
                f"{len(wrong)} rows of {split} have another number of tags than tokens;"
                f" the first, row {row}: {num_tags} tags, {num_words} tokens"
            )
            problems.append(Problem(f"{where}.{name}", what))
    return problems
