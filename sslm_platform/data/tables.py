"""Tables that are made once, batch by batch, and memory-mapped from then on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import datasets
import pyarrow as pa

from sslm_platform.files import atomic_path

ROWS_AT_ONCE = 2000  # what is held in memory while a table is made

Columns = dict[str, list[Any]]

logger = logging.getLogger(__name__)


def table_path(cache: Path, kind: str, *facts: Any) -> Path:
    """Return the file of the table that these facts determine; JSON content, or what ``str`` names."""
    digest = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()
    return cache / kind / f"{digest[:40]}.arrow"


def stored_table(path: Path, make: Callable[[], Iterable[pa.RecordBatch]]) -> pa.Table:
    """Return the table of a file, memory-mapped; make the file where it is missing or damaged.

    Args:
        path: as :func:`table_path` returns it.
        make: gives the rows, a few at a time. Batches may differ in columns and in types: the table has all
            columns, each of the type that fits all batches.

    Raises:
        pyarrow.ArrowException: no type fits all values of a column.
    """
    table = _open(path)
    if table is None:
        with atomic_path(path) as aside:
            _write(aside, make())
        table = _open(path)
        assert table is not None
    return table


def dataset_of(path: Path, table: pa.Table) -> datasets.Dataset:
    """Return a stored table as a data set; its fingerprint is the file's name."""
    return datasets.Dataset(table, fingerprint=path.stem)


def row_batches(rows: datasets.Dataset, columns: Iterable[str]) -> Iterator[Columns]:
    """Yield some columns of the next ``ROWS_AT_ONCE`` rows; at least once, perhaps of no rows."""
    chosen = rows.select_columns(list(dict.fromkeys(columns)))
    yield from chosen.iter(ROWS_AT_ONCE) if len(rows) else [chosen[:0]]


def record_batch(columns: Mapping[str, list[Any] | pa.Array]) -> pa.RecordBatch:
    """Return columns as Arrow holds them.

    Raises:
        pyarrow.ArrowException: a column's values are not of one kind; its name is in the message.
    """
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = values if isinstance(values, pa.Array) else pa.array(values)
        except (pa.ArrowException, UnicodeError, OverflowError) as error:
            found = _unlike(values) or error
            raise pa.ArrowInvalid(f"column {name!r} does not hold one kind of value: {found}") from None
    return pa.RecordBatch.from_pydict(arrays)


def _unlike(values: Iterable[Any]) -> str:
    """Return one value of each type, in the order that they came; empty where all are of one."""
    first: dict[type, Any] = {}
    for value in values:
        if value is not None:
            first.setdefault(type(value), value)
    shown = [shorten(repr(value), 60, placeholder=" …") for value in first.values()]
    return " and ".join(shown) if len(shown) > 1 else ""


def _open(path: Path) -> pa.Table | None:
    if not path.exists():
        return None
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate()
    except (pa.ArrowException, OSError) as error:
        logger.warning("%s is damaged (%s); making it again", path, error)
        return None
    return table


def _write(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    todo = iter(batches)
    first = next(todo, pa.RecordBatch.from_pydict({}))
    batch: pa.RecordBatch | None = first
    schema = first.schema
    while batch is not None:
        schema = _common(schema, batch.schema)
        batch = _extend(path, schema, batch, todo)


def _extend(
    path: Path, schema: pa.Schema, batch: pa.RecordBatch | None, todo: Iterator[pa.RecordBatch]
) -> pa.RecordBatch | None:
    """Write what the file holds, and batches up to the first that needs a wider schema; return that one."""
    with (
        atomic_path(path) as aside,
        pa.OSFile(str(aside), "wb") as sink,
        pa.ipc.new_file(sink, schema) as out,
    ):
        for before in _read(path):
            out.write_batch(_fit(before, schema))
        while batch is not None and _common(schema, batch.schema) == schema:
            out.write_batch(_fit(batch, schema))
            batch = next(todo, None)
    return batch


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    if not path.exists():
        return
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    for index in range(reader.num_record_batches):
        yield reader.get_batch(index)


def _common(schema: pa.Schema, other: pa.Schema) -> pa.Schema:
    if schema == other:
        return schema
    try:
        return pa.unify_schemas([schema, other], promote_options="permissive")
    except pa.ArrowException as error:
        name = next((n for n in schema.names if n in str(error).split()), "")
        raise pa.ArrowInvalid(f"column {name!r} does not hold one kind of value: {error}") from None


def _fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema == schema:
        return batch
    names = set(batch.schema.names)
    columns = [
        batch.column(field.name).cast(field.type) if field.name in names else pa.nulls(len(batch), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
