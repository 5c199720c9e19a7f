"""Bytes of one file to columns, one reader for each ``format`` of a spec."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sslm_platform.data.markup import read_tagged_xml
from sslm_platform.errors import DataError, Problem
from sslm_platform.spec.data import (
    ConllFormat,
    DelimitedFormat,
    Format,
    JsonLinesFormat,
    ParquetFormat,
    TaggedXmlFormat,
    TextFormat,
)

Columns = dict[str, list[Any]]

_LONGEST_VALUE = (1 << 31) - 1


def read_columns(content: bytes, form: Format, *, where: str) -> Columns:
    """Parse one file.

    Args:
        content: the file's bytes, not compressed.
        form: the spec's ``format`` section.
        where: the file's name, for messages.

    Returns:
        Column name to values, all of one length.

    Raises:
        DataError: the content is not in that format, with the line.
    """
    reader: Callable[[bytes, Any, str], Columns] = _READERS[type(form)]
    return reader(content, form, where)


def decode(content: bytes, encoding: str, where: str) -> str:
    """Decode strictly; a byte order mark is dropped."""
    try:
        codec = codecs.lookup(encoding).name
    except LookupError:
        raise DataError(
            Problem(where, f"unknown encoding {encoding!r}; try utf-8, cp1252 or latin-1")
        ) from None
    try:
        return content.decode("utf-8-sig" if codec == "utf-8" else codec)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = f"byte 0x{content[error.start]:02x} at line {line}"
        what = f"not {encoding}: {byte}; set format.encoding (say cp1252)"
        raise DataError(Problem(where, what)) from None


def _delimited(content: bytes, form: DelimitedFormat, where: str) -> Columns:
    quoting = form.quoting if form.quoting is not None else form.name == "csv"
    reader = csv.reader(
        io.StringIO(decode(content, form.encoding, where), newline=""),
        delimiter="," if form.name == "csv" else "\t",
        quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
        strict=True,
    )
    previous = csv.field_size_limit(_LONGEST_VALUE)
    try:
        rows = ((reader.line_num, row) for row in reader if row)
        names = form.columns or next(rows, (0, []))[1]
        return _transpose(rows, names, where)
    except csv.Error as error:
        hint = "; set format.quoting: false if quotes are text" if quoting else ""
        raise DataError(Problem(f"{where}:{reader.line_num}", f"{error}{hint}")) from None
    finally:
        csv.field_size_limit(previous)


def _transpose(rows: Iterator[tuple[int, list[str]]], names: list[str], where: str) -> Columns:
    if len(set(names)) != len(names):
        raise DataError(Problem(where, f"two columns have one name: {', '.join(names)}"))
    values: list[list[str]] = [[] for _ in names]
    for line, row in rows:
        if len(row) != len(names):
            what = f"{len(row)} values, expected {len(names)} ({', '.join(names)})"
            raise DataError(Problem(f"{where}:{line}", what))
        for column, value in zip(values, row, strict=True):
            column.append(value)
    return dict(zip(names, values, strict=True))


def _json_lines(content: bytes, form: JsonLinesFormat, where: str) -> Columns:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(decode(content, form.encoding, where).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(Problem(f"{where}:{number}", f"not JSON: {error}")) from None
        if not isinstance(row, dict):
            what = f"expected a JSON object; got {type(row).__name__}"
            raise DataError(Problem(f"{where}:{number}", what))
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _parquet(content: bytes, form: ParquetFormat, where: str) -> Columns:
    try:
        return pq.read_table(pa.BufferReader(content)).to_pydict()
    except pa.ArrowException as error:
        raise DataError(Problem(where, f"not a Parquet file: {error}")) from None


def _conll(content: bytes, form: ConllFormat, where: str) -> Columns:
    columns: Columns = {name: [] for name in form.columns if name != "_"}
    sentence: list[list[str]] = []

    def end() -> None:
        if sentence and not sentence[0][0].startswith("-DOCSTART-"):
            for name, values in zip(form.columns, zip(*sentence, strict=True), strict=True):
                if name != "_":
                    columns[name].append(list(values))
        sentence.clear()

    for number, raw in enumerate(decode(content, form.encoding, where).split("\n"), 1):
        # Only ASCII blanks separate: a no-break space can be (part of) a token.
        line = raw.rstrip("\r") if form.separator else raw.strip(" \t\r")
        if not line.strip(" \t"):
            end()
        elif form.comment is None or not line.startswith(form.comment):
            values = line.split(form.separator) if form.separator else re.split(r"[ \t]+", line)
            if len(values) != len(form.columns):
                what = f"{len(values)} columns, expected {len(form.columns)} ({', '.join(form.columns)})"
                raise DataError(Problem(f"{where}:{number}", what))
            sentence.append(values)
    end()
    return columns


def _text(content: bytes, form: TextFormat, where: str) -> Columns:
    text = decode(content, form.encoding, where).replace("\r\n", "\n")
    if form.unit == "line":
        units = [line.strip() for line in text.split("\n")]
    else:
        lines = ("" if not line.strip() else line for line in text.split("\n"))
        units = [" ".join(block.split()) for block in "\n".join(lines).split("\n\n")]
    return {"text": [unit for unit in units if unit]}


def _tagged_xml(content: bytes, form: TaggedXmlFormat, where: str) -> Columns:
    tokens, tags = read_tagged_xml(decode(content, form.encoding, where), form.item, where)
    return {"tokens": tokens, "tags": tags}


_READERS: dict[type, Callable[[bytes, Any, str], Columns]] = {
    DelimitedFormat: _delimited,
    JsonLinesFormat: _json_lines,
    ParquetFormat: _parquet,
    ConllFormat: _conll,
    TextFormat: _text,
    TaggedXmlFormat: _tagged_xml,
}
