"""Matrices and cells as CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sslm_platform.report.matrix import Cell, Matrix, State
from sslm_platform.report.numbers import Scale, metric_name, scale_of, short_names
from sslm_platform.report.records import CellRecord, PlannedCell, TransferPlan

CELL_COLUMNS = (
    "protocol",
    "source",
    "target",
    "seed",
    "is_baseline",
    "state",
    "metric",
    "value",
    "low",
    "high",
    "num_train",
    "num_test",
    "seconds",
    "num_tokens",
    "error",
    "id",
)


def cell_rows(plan: TransferPlan, cells: Mapping[str, CellRecord]) -> list[dict[str, Any]]:
    """Every planned cell as a flat row of :data:`CELL_COLUMNS`, baselines included; None where unknown."""
    return [_cell_row(planned, cells.get(planned.id)) for planned in plan.cells]


def _cell_row(planned: PlannedCell, record: CellRecord | None) -> dict[str, Any]:
    key = planned.key
    row: dict[str, Any] = dict.fromkeys(CELL_COLUMNS)
    row |= {"protocol": key.protocol, "source": key.source, "target": key.target, "seed": key.seed}
    row |= {"is_baseline": planned.is_baseline, "id": planned.id, "state": State.MISSING.value}
    if record is None:
        return row
    row |= {"metric": record.metric, "num_train": record.num_train, "num_test": record.num_test}
    row |= {"seconds": record.seconds, "num_tokens": record.num_tokens}
    if record.status == "failed":
        return row | {"state": State.FAILED.value, "error": first_line(record.error)}
    return row | {"state": State.OK.value} | record.scores[record.metric].model_dump()


def first_line(error: str) -> str:
    """The line of an error that says what was wrong: the last of a traceback, else the first."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as CSV with a header; None is an empty field."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def matrix_csv(matrix: Matrix) -> str:
    """Write a matrix as CSV: full precision, or the word for why there is no value."""
    rows = (
        {"source": row or "no source"} | {col: _raw(matrix.cells[row, col]) for col in matrix.cols}
        for row in matrix.rows
    )
    return to_csv(("source", *matrix.cols), rows)


def _raw(cell: Cell) -> str:
    return repr(cell.estimate.value) if cell.estimate else cell.state.value


def matrix_markdown(matrix: Matrix) -> str:
    """Write a matrix as a Markdown table; gains whose interval excludes 0 are bold."""
    rows, cols = short_names(matrix.rows, matrix.cols), short_names(matrix.cols)
    scale = scale_of(matrix.all_cells)
    header = ["source \\ target", *(cols[col] for col in matrix.cols)]
    body = [
        [
            rows[row],
            *(_markdown(matrix.cells[row, col], matrix.value == "gain", scale) for col in matrix.cols),
        ]
        for row in matrix.rows
    ]
    return f"{caption(matrix)}\n\n{markdown_table(header, body)}"


def caption(matrix: Matrix) -> str:
    """Say what a matrix holds."""
    what = f"Gain over {matrix.baseline}" if matrix.value == "gain" else "Score"
    return f"{what}, {matrix.protocol}, {metric_name(matrix)}, 95 % interval"


def _markdown(cell: Cell, is_gain: bool, scale: Scale) -> str:
    if cell.estimate is None:
        return f"*{cell.state.value}*"
    value = scale.text(cell.estimate.value, signed=is_gain)
    strong = f"**{value}**" if is_gain and cell.estimate.excludes_zero else value
    return f"{strong} {scale.interval(cell.estimate, signed=is_gain)}"


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table; the first column is text, the others are numbers."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *body]
    return "".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |\n" for line in lines)
