"""Matrices as LaTeX tables in the style of booktabs, to be put into a paper with ``\\input``."""

from __future__ import annotations

from collections.abc import Iterator

from sslm_platform.report.matrix import Cell, Matrix, Relation
from sslm_platform.report.numbers import Scale, detectable_text, scale_of, short_names
from sslm_platform.report.tables import caption
from sslm_platform.statistics import FALSE_DISCOVERY_RATE

SPECIAL = {
    "\\": r"\textbackslash{}",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
} | {character: f"\\{character}" for character in "&%$#_{}"}
MARKS = {Relation.SAME: r"$^{=}$", Relation.INCLUDES: r"$^{\sim}$", Relation.APART: ""}
WIDE = 6  # more columns than this are scaled to the width of the line


def matrix_latex(matrix: Matrix, title: str, label: str) -> str:
    """Return a floating ``table`` with two lines for each row: values, and their 95 % intervals.

    Needs the packages ``booktabs`` and ``graphicx``. Differences that are discoveries are bold with a star.

    Args:
        matrix: any matrix.
        title: begins the caption.
        label: what ``\\ref`` takes, after ``tab:``.
    """
    parts = [escaped(f"{title}. {caption(matrix)}.")]
    if matrix.is_difference:
        parts.append(rf"Bold$^*$: significant among the cells shown ($q \leq {FALSE_DISCOVERY_RATE:g}$).")
        parts.append(escaped(detectable_text(matrix)))
    relations = {cell.relation for cell in matrix.all_cells}
    if Relation.SAME in relations:
        parts.append(f"{MARKS[Relation.SAME]}: trained on the target alone.")
    if Relation.INCLUDES in relations:
        parts.append(f"{MARKS[Relation.INCLUDES]}: target among the sources.")
    wide = len(matrix.cols) > WIDE
    lines = [
        r"% \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{' '.join(part for part in parts if part)}}}",
        rf"\label{{tab:{label}}}",
        *([r"\resizebox{\linewidth}{!}{%"] if wide else []),
        *_tabular(matrix),
        *(["}"] if wide else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Return text in which no character has a meaning of its own in LaTeX."""
    return "".join(SPECIAL.get(character, character) for character in text)


def _tabular(matrix: Matrix) -> Iterator[str]:
    rows, cols = short_names(matrix.rows, matrix.cols), short_names(matrix.cols)
    scale = scale_of(matrix.all_cells)
    yield rf"\begin{{tabular}}{{l{'c' * len(matrix.cols)}}}"
    yield r"\toprule"
    yield " & ".join(["source", *(escaped(cols[col]) for col in matrix.cols)]) + r" \\"
    yield r"\midrule"
    for row in matrix.rows:
        cells = [matrix.cells[row, col] for col in matrix.cols]
        values = (_value(cell, scale, matrix.is_difference) for cell in cells)
        yield " & ".join([escaped(rows[row]), *values]) + r" \\"
        if any(cell.estimate for cell in cells):
            yield " & ".join(["", *(_interval(cell, scale, matrix.is_difference) for cell in cells)]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _value(cell: Cell, scale: Scale, signed: bool) -> str:
    if cell.estimate is None:
        return rf"\emph{{{cell.state.value}}}"
    value = f"${scale.text(cell.estimate.value, signed=signed)}$"
    strong = rf"\textbf{{\boldmath {value}}}$^*$" if signed and cell.discovery else value
    return strong + MARKS[cell.relation]


def _interval(cell: Cell, scale: Scale, signed: bool) -> str:
    if cell.estimate is None or cell.estimate.low is None:
        return ""
    # In braces: after a line break LaTeX would take a bracket for the break's argument.
    return rf"{{\scriptsize ${scale.interval(cell.estimate, signed=signed)}$}}"
