"""Translations of programs' messages: compiled catalogues of GNU gettext (``.mo``)."""

from __future__ import annotations

import re
import struct

from sslm_platform.data.tables import Columns
from sslm_platform.errors import DataError, Problem

_MAGIC = 0x950412DE
_CHARSET = re.compile(rb"charset=([\w-]+)")


def read_catalogue(content: bytes, where: str) -> Columns:
    """Return columns ``source``, ``target`` and ``context`` (null without), in the file's order.

    Of a message with plural forms these are the singular and its first form. The header (the entry of the
    empty message) and messages without a translation are left out.

    Args:
        content: of the file (gettext manual, "The Format of GNU MO Files").
        where: its name, for messages.

    Raises:
        DataError: not a catalogue, or in an encoding that Python does not know.
    """
    try:
        pairs = _pairs(content)
        header = dict(pairs).get(b"", b"")
        found = _CHARSET.search(header)
        encoding = found[1].decode() if found else "utf-8"
        rows = [_row(key.decode(encoding), value.decode(encoding)) for key, value in pairs if key]
    except (struct.error, ValueError, LookupError) as error:
        raise DataError(Problem(where, f"not a gettext catalogue: {error}")) from None
    kept = [row for row in rows if row[1]]
    columns = zip(*kept, strict=True) if kept else ((), (), ())
    return dict(zip(("source", "target", "context"), map(list, columns), strict=True))


def _pairs(content: bytes) -> list[tuple[bytes, bytes]]:
    order = next((o for o in "<>" if struct.unpack(f"{o}I", content[:4])[0] == _MAGIC), None)
    if order is None:
        raise ValueError("it does not begin with the magic number 0x950412de")
    _, count, keys, values = struct.unpack_from(f"{order}4I", content, 4)
    return [
        (_text_at(content, order, keys + 8 * i), _text_at(content, order, values + 8 * i))
        for i in range(count)
    ]


def _text_at(content: bytes, order: str, place: int) -> bytes:
    length, start = struct.unpack_from(f"{order}2I", content, place)
    if start + length > len(content):
        raise ValueError(f"a text at byte {start} goes beyond its end")
    return content[start : start + length]


def _row(key: str, value: str) -> tuple[str, str, str | None]:
    context, separator, message = key.rpartition("\x04")
    return message.partition("\0")[0], value.partition("\0")[0], context if separator else None
