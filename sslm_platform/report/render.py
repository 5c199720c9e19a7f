"""``sslm report``: a run folder to files and terminal tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sslm_platform.files import write_text
from sslm_platform.report.console import print_run
from sslm_platform.report.figures import SUFFIXES, write_figures
from sslm_platform.report.latex import matrix_latex
from sslm_platform.report.markdown import report_markdown
from sslm_platform.report.page import render_page
from sslm_platform.report.run import Run, read_run
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


@dataclass(frozen=True, slots=True)
class Report:
    """A run's records and the matrices that are shown of them, both computed once."""

    folder: Path
    run: Run
    families: tuple[Family, ...]

    @classmethod
    def read(cls, folder: Path) -> Report:
        """Read a run folder.

        Raises:
            RunError: a record is missing or damaged.
        """
        run = read_run(folder)
        return cls(folder, run, families(run.plan, run.cells))

    def write(self, *, figures: bool = False) -> Path:
        """Write ``report/`` in the run's folder and return its ``index.html``.

        The folder gets ``index.html``, ``report.md``, ``cells.csv`` (every planned cell), ``gains.csv``
        (every gain with its test) and, for each matrix, ``matrices/<protocol>--<task>--<value>`` as CSV,
        Markdown and LaTeX. The same records give the same bytes.

        Args:
            figures: each matrix as PDF, SVG and PNG too, which takes about a second a matrix; without, those
                of an earlier call are removed, because they may show other values.
        """
        folder, run = self.folder / "report", self.run
        write_text(folder / "cells.csv", to_csv(CELL_COLUMNS, cell_rows(run.plan, run.cells)))
        write_text(folder / "gains.csv", to_csv(GAIN_COLUMNS, gain_rows(self.families)))
        written = {
            path
            for family in self.families
            for path in _write_family(family, folder / "matrices", figures=figures)
        }
        _remove_others(folder / "matrices", written)
        write_text(folder / "report.md", report_markdown(run, self.families))
        write_text(folder / "index.html", render_page(run, self.families))
        return folder / "index.html"

    def print(self, console: Console) -> None:
        """Print the report as terminal tables."""
        print_run(self.run, self.families, console)


def _write_family(family: Family, folder: Path, *, figures: bool) -> Iterator[Path]:
    """Write a family's matrices; yield the files that belong to them."""
    for name, matrix in family.matrices:
        stem, title = folder / f"{family.slug}--{name}.csv", f"{family.task}, {family.protocol}"
        texts = {".csv": matrix_csv(matrix), ".md": matrix_markdown(matrix)}
        texts[".tex"] = matrix_latex(matrix, title, stem.stem)
        for suffix, text in texts.items():
            write_text(stem.with_suffix(suffix), text)
            yield stem.with_suffix(suffix)
        if figures:
            write_figures(matrix, title, stem)
            yield from (stem.with_suffix(suffix) for suffix in SUFFIXES)


def _remove_others(folder: Path, written: set[Path]) -> None:
    """Remove what is not of these records: files of an earlier plan, or figures of earlier values."""
    for path in folder.glob("*--*.*"):
        if path not in written:
            path.unlink()
