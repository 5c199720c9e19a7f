"""Matrices and cells as CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sslm_platform.report.matrix import Cell, Matrix, State
from sslm_platform.report.numbers import Scale, detectable_text, metric_name, scale_of, short_names
from sslm_platform.report.records import CellRecord, PlannedCell, TransferPlan
from sslm_platform.report.views import Family

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

GAIN_COLUMNS = (
    "protocol",
    "task",
    "baseline",
    "source",
    "target",
    "relation",
    "gain",
    "low",
    "high",
    "standard_error",
    "num_seeds",
    "conditional",
    "p",
    "q",
    "discovery",
    "p_examples",
    "p_seeds",
    "effect_examples",
    "effect_seeds",
    "detectable",
)


def cell_rows(plan: TransferPlan, cells: Mapping[str, CellRecord]) -> list[dict[str, Any]]:
    """Every planned cell as a flat row of :data:`CELL_COLUMNS`, baselines included; None where unknown."""
    return [_cell_row(planned, cells.get(planned.id)) for planned in plan.cells]


def _cell_row(planned: PlannedCell, record: CellRecord | None) -> dict[str, Any]:
    key = planned.key
    row: dict[str, Any] = dict.fromkeys(CELL_COLUMNS)
    row |= {"protocol": key.protocol, "source": key.source, "target": key.target, "seed": key.seed}
    row |= {"is_baseline": planned.is_baseline, "id": planned.id, "state": State.MISSING.value}
    if planned.undefined:
        return row | {"state": State.UNDEFINED.value, "error": planned.undefined}
    if record is None:
        return row
    row |= {"metric": record.metric, "num_train": record.num_train, "num_test": record.num_test}
    row |= {"seconds": record.seconds, "num_tokens": record.num_tokens}
    if record.status == "failed":
        return row | {"state": State.FAILED.value, "error": first_line(record.error)}
    return row | {"state": State.OK.value} | record.scores[record.metric].model_dump()


def gain_rows(families: Iterable[Family]) -> list[dict[str, Any]]:
    """Every tested place of every matrix of gains as a flat row of :data:`GAIN_COLUMNS`."""
    return [
        _gain_row(family.task, matrix, row, col)
        for family in families
        for matrix in family.gains
        for row in matrix.rows
        for col in matrix.cols
        if matrix.cells[row, col].inference
    ]


def _gain_row(task: str, matrix: Matrix, row: str, col: str) -> dict[str, Any]:
    cell = matrix.cells[row, col]
    estimate, inference = cell.estimate, cell.inference
    assert estimate is not None
    assert inference is not None
    return {
        "protocol": matrix.protocol,
        "task": task,
        "baseline": matrix.baseline,
        "source": row,
        "target": col,
        "relation": cell.relation.value,
        "gain": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "standard_error": inference.standard_error,
        "num_seeds": len(cell.seeds),
        "conditional": inference.conditional,
        "p": inference.p,
        "q": cell.q,
        "discovery": cell.discovery,
        "p_examples": inference.p_examples,
        "p_seeds": inference.p_seeds,
        "effect_examples": inference.effect_examples,
        "effect_seeds": inference.effect_seeds,
        "detectable": cell.detectable,
    }


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
    """Write a matrix as a Markdown table; differences that are discoveries are bold."""
    rows, cols = short_names(matrix.rows, matrix.cols), short_names(matrix.cols)
    scale = scale_of(matrix.all_cells)
    header = ["source \\ target", *(cols[col] for col in matrix.cols)]
    body = [
        [
            rows[row],
            *(_markdown(matrix.cells[row, col], matrix.is_difference, scale) for col in matrix.cols),
        ]
        for row in matrix.rows
    ]
    note = detectable_text(matrix)
    marked = "; bold: significant among the cells shown (q ≤ 0.05)" if matrix.is_difference else ""
    return f"{caption(matrix)}{marked}\n\n{markdown_table(header, body)}" + (f"\n{note}\n" if note else "")


def caption(matrix: Matrix) -> str:
    """Say what a matrix holds."""
    what = {
        "score": "Score",
        "gain": f"Gain over {matrix.baseline}",
        "normalised": f"Share of the way from {matrix.baseline} to perfect",
        "gap": f"Gap to in-domain, as a share of its gain over {matrix.baseline}",
    }[matrix.value]
    return f"{what}, {matrix.protocol}, {metric_name(matrix)}, 95 % interval"


def _markdown(cell: Cell, is_gain: bool, scale: Scale) -> str:
    if cell.estimate is None:
        return f"*{cell.state.value}*"
    value = scale.text(cell.estimate.value, signed=is_gain)
    strong = f"**{value}**" if is_gain and cell.discovery else value
    return f"{strong} {scale.interval(cell.estimate, signed=is_gain)}"


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table; the first column is text, the others are numbers."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *body]
    return "".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |\n" for line in lines)
