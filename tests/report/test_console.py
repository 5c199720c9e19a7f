from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from sslm_platform.report.render import Report

SNAPSHOT = Path(__file__).with_name("console_80.txt")


def printed(folder: Path, width: int) -> str:
    stream = io.StringIO()
    Report.read(folder).print(Console(file=stream, width=width, color_system=None, legacy_windows=False))
    return "".join(line.rstrip() + "\n" for line in stream.getvalue().splitlines())


def test_tables_in_80_columns(folder: Path):
    """To accept a change: delete the file, run the test once, and read the difference."""
    text = printed(folder, 80)
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(text, encoding="utf-8")
        pytest.fail(f"{SNAPSHOT.name} was missing and has been written; read it")
    assert text == SNAPSHOT.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_column_is_lost(folder: Path, width: int):
    text = printed(folder, width)
    assert max(len(line) for line in text.splitlines()) <= width
    for word in ("tweets", "movies", "products", "news", "missing", "failed"):
        assert word in text


def test_gains_are_coloured(folder: Path):
    stream = io.StringIO()
    Report.read(folder).print(Console(file=stream, width=100, force_terminal=True, color_system="256"))
    assert "\x1b[1;34m" in stream.getvalue()  # bold blue
    assert "\x1b[1;38;5;208m" in stream.getvalue()  # bold dark orange
