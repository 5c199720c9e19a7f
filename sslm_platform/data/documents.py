"""Files that are read whole: lists in JSON, and blocks of marked values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sslm_platform.errors import DataError, Problem

_CHILD = re.compile(r"<(\w+)>(.*?)</\1>", re.DOTALL)


def json_rows(text: str, columns: list[str] | None, key: str | None, where: str) -> Iterator[dict[str, Any]]:
    """Parse a JSON list of rows, or an object of such lists.

    Args:
        text: the document.
        columns: names of the values, where rows are lists; of objects the keys that are wanted, default: all.
        key: column that gets the name of the list that a row is in.
        where: the file's name, for messages.

    Raises:
        DataError: not JSON, or not of that form, with the list and number of the row.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(Problem(where, f"not JSON: {error}")) from None
    lists = document if isinstance(document, dict) else {"": document}
    for name, rows in lists.items():
        if not isinstance(rows, list):
            what = f"expected a list of rows{f' in {name!r}' if name else ''}; got {type(rows).__name__}"
            raise DataError(Problem(where, what))
        for number, row in enumerate(rows):
            values = _named(row, columns, f"{where}: {name}[{number}]")
            yield {**values, key: name} if key is not None else values


def _named(row: Any, columns: list[str] | None, where: str) -> dict[str, Any]:
    if isinstance(row, Mapping):
        return dict(row) if columns is None else {name: row.get(name) for name in columns}
    if isinstance(row, list) and columns is not None and len(row) == len(columns):
        return dict(zip(columns, row, strict=True))
    expected = "an object" if columns is None else f"a list of {', '.join(columns)}"
    hint = "; name the values in format.columns" if columns is None and isinstance(row, list) else ""
    raise DataError(Problem(where, f"expected {expected}; got {row!r:.60}{hint}"))


def block_rows(text: str, item: str, where: str) -> Iterator[dict[str, str]]:
    """Yield the values of each block ``<item> <name> value </name> … </item>``; of equal names the first.

    It looks like XML but is none: values hold ``&`` and ``<`` as they are, and nothing is nested.

    Raises:
        DataError: there is no such block.
    """
    blocks = re.findall(rf"<{re.escape(item)}>(.*?)</{re.escape(item)}>", text, re.DOTALL)
    if not blocks:
        raise DataError(Problem(where, f"no block <{item}>"))
    for block in blocks:
        row: dict[str, str] = {}
        for name, value in _CHILD.findall(block):
            row.setdefault(name, value.strip())
        yield row
