"""The prose of a docstring: without doctests, parameter tables, directives, lists and inline markup."""

from __future__ import annotations

import re

# Sections whose body is a table or code, in numpy style (underlined) or Google style (ends with a colon).
_TABLES = frozenset(
    {"args", "arguments", "attributes", "classes", "example", "examples", "functions", "input", "inputs"}
    | {"keyword args", "keyword arguments", "kwargs", "methods", "other parameters", "output", "outputs"}
    | {"parameters", "params", "raises", "receives", "references", "return", "returns", "routine listings"}
    | {"see also", "shape", "usage", "warns", "yield", "yields"}
)
_UNDERLINE = re.compile(r"([=\-~^\"'#*+])\1{2,}")
_NOT_PROSE = re.compile(
    r">>>|\.\. |:\w[^:]*:(\s|$)|[-*+•] |\(?\d+[.)] |[=+|-][-=+| ]{3,}"
    r"|@\w|\$ |\||```|from \w[\w.]* import |import \w"
)
_ROLE = re.compile(r":[\w:+-]+:`~?([^`<]+?)(?:\s*<[^`>]*>)?`(?!`)")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?")
_LITERAL = re.compile(r"``?([^`]+)``?_{0,2}")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})([^*\s](?:[^*]*[^*\s])?)\1(?![\w*])")
_CITATION = re.compile(r"\s*\[\w+\]_")


def prose(docstring: str) -> list[str]:
    """Return the paragraphs of prose of a docstring that ``inspect.cleandoc`` has cleaned.

    Kept are paragraphs that are not indented and in no section of parameters, return values, examples and
    the like (numpy and Google style); reStructuredText roles, links and literals are reduced to their text.
    """
    paragraphs = []
    in_table = False
    for block in _blocks(docstring):
        title, lines = _heading(block)
        if title is not None:
            in_table = title in _TABLES
        if in_table or not lines or _is_google_table(lines[0]) or lines[0][0].isspace():
            continue
        if not _NOT_PROSE.match(lines[0]):
            paragraphs.append(_plain(" ".join(line.strip() for line in _before_code(lines))))
    return [text for text in paragraphs if any(c.isalpha() for c in text)]


def _blocks(docstring: str) -> list[list[str]]:
    blocks = re.split(r"\n[ \t]*\n", docstring)
    return [
        [line.rstrip() for line in block.split("\n") if line.strip()] for block in blocks if block.strip()
    ]


def _heading(block: list[str]) -> tuple[str | None, list[str]]:
    """Split an underlined (and perhaps overlined) heading from the lines under it."""
    lines = block[1:] if _UNDERLINE.fullmatch(block[0]) else block
    if len(lines) > 1 and _UNDERLINE.fullmatch(lines[1]):
        return lines[0].strip(" :").lower(), lines[2:]
    return None, lines


def _is_google_table(line: str) -> bool:
    return line.endswith(":") and line.strip(" :").lower() in _TABLES


def _before_code(lines: list[str]) -> list[str]:
    """Return the lines before the first that is a doctest, a field, or a section set close."""
    for number, line in enumerate(lines):
        if number and (_NOT_PROSE.match(line.lstrip()) or _is_google_table(line)):
            return lines[:number]
    return lines


def _plain(text: str) -> str:
    for pattern, replacement in (
        (_CITATION, ""),
        (_ROLE, r"\1"),
        (_LINK, r"\1"),
        (_LITERAL, r"\1"),
        (_EMPHASIS, r"\2"),
    ):
        text = pattern.sub(replacement, text)
    return " ".join(re.sub(r"::(?=\s|$)", ":", text).split())
