"""``sslm report``: a run folder to files and terminal tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sslm_platform.files import write_text
from sslm_platform.report.console import print_run
from sslm_platform.report.figures import write_figures
from sslm_platform.report.markdown import report_markdown
from sslm_platform.report.page import render_page
from sslm_platform.report.run import read_run
from sslm_platform.report.tables import (
    CELL_COLUMNS,
    GAIN_COLUMNS,
    cell_rows,
    gain_rows,
    matrix_csv,
    matrix_markdown,
    to_csv,
)
from sslm_platform.report.views import Family, families

if TYPE_CHECKING:
    from rich.console import Console


def render_report(run: Path) -> Path:
    """Write ``run/report`` and return its ``index.html``.

    The folder gets ``index.html``, ``report.md``, ``cells.csv`` (every planned cell), ``gains.csv`` (every
    gain with its test) and, for each matrix, ``matrices/<protocol>--<task>--<value>`` as CSV, Markdown, PNG
    and SVG. The same records give the same bytes.

    Raises:
        RunError: a record is missing or damaged.
    """
    records, folder = read_run(run), run / "report"
    shown = families(records.plan, records.cells)
    write_text(folder / "cells.csv", to_csv(CELL_COLUMNS, cell_rows(records.plan, records.cells)))
    write_text(folder / "gains.csv", to_csv(GAIN_COLUMNS, gain_rows(shown)))
    written = {path for family in shown for path in _write_family(family, folder / "matrices")}
    _remove_others(folder / "matrices", written)
    write_text(folder / "report.md", report_markdown(records, shown))
    write_text(folder / "index.html", render_page(records))
    return folder / "index.html"


def print_report(run: Path, console: Console) -> None:
    """Print the report as terminal tables.

    Raises:
        RunError: a record is missing or damaged.
    """
    print_run(read_run(run), console)


def _write_family(family: Family, folder: Path) -> list[Path]:
    paths = []
    for name, matrix in family.matrices:
        stem = folder / f"{family.slug}--{name}.csv"
        write_text(stem, matrix_csv(matrix))
        write_text(stem.with_suffix(".md"), matrix_markdown(matrix))
        write_figures(matrix, f"{family.task}, {family.protocol}", stem)
        paths += [stem.with_suffix(suffix) for suffix in (".csv", ".md", ".png", ".svg")]
    return paths


def _remove_others(folder: Path, written: set[Path]) -> None:
    """Remove matrices of an earlier plan, which would pass for this one's."""
    for path in folder.glob("*--*.*"):
        if path not in written:
            path.unlink()
