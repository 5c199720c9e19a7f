"""The report as terminal tables, legible without colour and in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sslm_platform.report.findings import caveats, find
from sslm_platform.report.lead import lead
from sslm_platform.report.matrix import Cell, Matrix, Relation
from sslm_platform.report.numbers import Scale, detectable_text, scale_for, scale_of, short_names
from sslm_platform.report.plain import PlainTable
from sslm_platform.report.run import Run
from sslm_platform.report.sequence_tables import sequence_tables
from sslm_platform.report.sequences import sequence_scores
from sslm_platform.report.tables import caption
from sslm_platform.report.views import Family, summary

CELL_WIDTH = 14
LEGEND = (
    "* significant among the cells shown (q <= 0.05)   = trained on the target alone   "
    "~ target among the sources   [low,high] 95 % interval"
)


def print_run(run: Run, shown: Sequence[Family], console: Console) -> None:
    """Print findings, matrices, means, the joint model's scores and what a reader must know."""
    if said := lead(shown):
        console.print(Text(said))
        console.print()
    for finding in find(shown):
        console.print(Text.assemble((finding.title, "bold"), ". ", finding.text), soft_wrap=False)
        for word, lines in (("helps", finding.gains), ("harms", finding.harms)):
            for line in lines:
                console.print(Text(f"  {word}: {line}", style="blue" if word == "helps" else "dark_orange"))
        console.print()
    for family in shown:
        for matrix in (family.scores, *family.gains[:1]):
            floor = {} if matrix.is_difference else family.floor
            print_matrix(matrix, console, f"{family.task}: ", floor)
        _print_table(console, f"{family.task}: means, {family.protocol}", _summary_table(family))
    for table in sequence_tables(sequence_scores(run.plan, run.cells)):
        print_plain(table, console)
    if shown:
        console.print(Text(LEGEND, style="dim"))
    if run.scores:
        _print_table(console, "Joint model on test", _score_table(run))
    for note in caveats(shown, run.record.notes, joint=bool(run.scores)):
        console.print(Text(f"Note: {note}", style="dim"))


def print_matrix(
    matrix: Matrix, console: Console, title: str = "", floor: Mapping[str, Matrix] | None = None
) -> None:
    """Print a matrix in as many tables as the width asks for; ``floor`` has more rows, by name."""
    for shown, table in _matrix_tables(matrix, floor or {}, console.width):
        _print_table(console, f"{title}{shown}", table, note=detectable_text(matrix))


def print_plain(plain: PlainTable, console: Console, note: str = "") -> None:
    """Print a table of text."""
    _print_table(console, plain.title, _plain_table(plain), note)


def _print_table(console: Console, title: str, table: Table, note: str = "") -> None:
    console.print(Text(title, style="bold"))
    console.print(table)
    if note:
        console.print(Text(note, style="dim"))
    console.print()


def _matrix_tables(matrix: Matrix, floor: Mapping[str, Matrix], width: int) -> Iterator[tuple[str, Table]]:
    rows, cols = short_names(matrix.rows, matrix.cols), short_names(matrix.cols)
    scale, is_gain = scale_of(matrix.all_cells), matrix.is_difference
    label_width = min(max(len(name) for name in (*rows.values(), "source")) + 3, 24)
    per_table = max(1, (width - label_width - 2) // (CELL_WIDTH + 2))
    for start in range(0, len(matrix.cols), per_table):
        part = matrix.cols[start : start + per_table]
        last = start + len(part)
        span = f"targets {start + 1}-{last}" if len(part) > 1 else f"target {last}"
        more = f" ({span} of {len(matrix.cols)})"
        title = caption(matrix) + (more if len(part) < len(matrix.cols) else "")
        table = _table("source", [cols[col] for col in part])
        for row in matrix.rows:
            table.add_row(rows[row], *(_cell_text(matrix.cells[row, col], scale, is_gain) for col in part))
        _add_floor(table, floor, part, scale)
        yield title, table


def _table(first: str, headers: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold")
    for header in headers:
        table.add_column(header, justify="right", overflow="fold", min_width=9)
    return table


def _add_floor(table: Table, floor: Mapping[str, Matrix], cols: Sequence[str], scale: Scale) -> None:
    for name, matrix in floor.items():
        cells = (matrix.cells.get(("", col)) for col in cols)
        table.add_row(
            Text(name, style="dim"),
            *(_cell_text(cell, scale, False) if cell else Text("-") for cell in cells),
        )


def _cell_text(cell: Cell, scale: Scale, is_gain: bool) -> Text:
    if cell.estimate is None:
        return Text(cell.state.value, style="dim italic")
    decided = is_gain and cell.discovery
    color = "blue" if cell.estimate.value > 0 else "dark_orange"
    style = (f"bold {color}" if decided else "dim") if is_gain else ""
    mark = {Relation.SAME: "=", Relation.INCLUDES: "~", Relation.APART: ""}[cell.relation]
    value = f"{mark} {scale.text(cell.estimate.value, signed=is_gain)}{'*' if decided else ''}".strip()
    return Text.assemble(
        (value, style), ("\n" + scale.interval(cell.estimate, signed=is_gain).replace(" ", ""), "dim")
    )


def _summary_table(family: Family) -> Table:
    scale = scale_of(family.scores.all_cells)
    headers = ["method", "cells", "mean", "gain over it, mean"]
    table = _table("relation", headers)
    for row in summary(family):
        gain = row.gain.estimate if row.gain else None
        table.add_row(
            row.relation.value,
            row.name,
            f"{row.score.count} of {row.score.planned}",
            scale.text(row.score.estimate.value),
            f"{scale.text(gain.value, signed=True)} {scale.interval(gain, signed=True)}" if gain else "",
        )
    return table


def _plain_table(plain: PlainTable) -> Table:
    table = _table(plain.header[0], plain.header[1:])
    for row in plain.body:
        table.add_row(*map(Text, row))
    return table


def _score_table(run: Run) -> Table:
    table = _table("task", ["metric", "score", "majority", "examples"])
    for score in run.scores:
        value, floor = score.scores[score.metric], score.majority.get(score.metric)
        scale = scale_for([value.value, floor.value if floor else 0.0], score.best)
        table.add_row(
            score.task,
            score.metric.replace("_", " ") + scale.unit,
            f"{scale.text(value.value)} [{scale.text(value.low)}, {scale.text(value.high)}]",
            scale.text(floor.value) if floor else "-",
            f"{score.num_test:,}",
        )
    return table
