"""Conversations in YAML: lists of turns, to a row for each reply."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from sslm_platform.data.tables import Columns
from sslm_platform.errors import DataError, Problem

COLUMNS = ("text", "history", "reply")


def read_conversations(content: str, where: str) -> Columns:
    """Return columns ``text`` (the turn before), ``history`` (all before, a line each) and ``reply``.

    Args:
        content: YAML with ``conversations``, a list of lists of turns (the ChatterBot corpus's format).
        where: the file's name, for messages.

    Raises:
        DataError: not YAML, no such list, or a turn that is no text or number.
    """
    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise DataError(Problem(where, f"not YAML: {' '.join(str(error).split())}")) from None
    conversations = document.get("conversations") if isinstance(document, dict) else None
    if not isinstance(conversations, list):
        raise DataError(Problem(where, "has no list `conversations`"))
    numbered = enumerate(conversations, 1)
    rows = [row for number, turns in numbered for row in _rows(turns, f"{where}: conversation {number}")]
    return {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}


def _rows(turns: Any, where: str) -> Iterator[tuple[str, str, str]]:
    if not isinstance(turns, list):
        raise DataError(Problem(where, f"expected a list of turns; got {turns!r}"))
    texts = [_text(turn, where) for turn in turns]
    for place in range(1, len(texts)):
        yield texts[place - 1], "\n".join(texts[:place]), texts[place]


def _text(turn: Any, where: str) -> str:
    if turn is None or isinstance(turn, str | int | float):  # an empty turn, and numbers without quotes
        return "" if turn is None else " ".join(str(turn).split())
    raise DataError(Problem(where, f"expected a text; got {turn!r}: put quotes around it"))
