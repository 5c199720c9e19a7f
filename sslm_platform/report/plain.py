"""Tables of text, as the page and the terminal both show them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlainTable:
    """A table of text; the first column is a name, the others are numbers or names."""

    title: str
    header: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]
