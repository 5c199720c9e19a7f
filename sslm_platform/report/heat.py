"""One matrix as the page's heat table: text, strength of colour, and what hovering says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sslm_platform.report.colors import strengths
from sslm_platform.report.matrix import Cell, Matrix, Relation
from sslm_platform.report.numbers import Scale, detectable_text, metric_name, p_text, scale_of, short_names
from sslm_platform.report.order import clustered
from sslm_platform.report.tables import first_line
from sslm_platform.report.views import Family

DENSE = 8  # more columns than this leave no room for intervals inside the cells


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One cell: ``kind`` are CSS classes, ``tip`` lines of ``label TAB value`` beside source and target."""

    text: str
    interval: str
    kind: str
    strength: str
    tip: str


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A row with its short and full name, and its place among like rows.

    ``is_floor`` marks a baseline that needs no source, which stays below all others.
    """

    name: str
    full: str
    cells: tuple[HeatCell, ...]
    place: int
    is_floor: bool = False


@dataclass(frozen=True, slots=True)
class Heat:
    """A matrix ready to be shown; ``cols`` are short name, full name, and place among like columns."""

    protocol: str
    baseline: str
    metric: str
    cols: tuple[tuple[str, str, int], ...]
    rows: tuple[HeatRow, ...]
    dense: bool
    note: str


Order = tuple[tuple[str, ...], tuple[str, ...]]


def order_of(family: Family) -> Order:
    """Return the rows and columns of a family with like beside like, by its first gains."""
    return clustered(family.gains[0] if family.gains else family.scores)


def heat(matrix: Matrix, scores: Matrix, order: Order, floor: Mapping[str, Matrix]) -> Heat:
    """Lay a matrix out.

    Args:
        matrix: what to show.
        scores: the same places' scores, for the scale of the scores that hovering shows.
        order: rows and columns with like beside like; what it has not comes last.
        floor: rows that do not depend on the source, by name, to put below.
    """
    names, cols = short_names(matrix.rows, matrix.cols), short_names(matrix.cols)
    scale, is_gain = scale_of(matrix.all_cells), matrix.is_difference
    of_scores = scale_of(scores.all_cells)
    shares = iter(strengths(matrix.all_cells, is_gain=is_gain))
    rows = [
        HeatRow(
            names[row],
            row,
            tuple(_heat_cell(matrix, row, col, next(shares), scale, of_scores) for col in matrix.cols),
            _place(row, order[0]),
        )
        for row in matrix.rows
    ]
    rows += [_floor_row(name, below, matrix, scale) for name, below in floor.items()]
    return Heat(
        protocol=matrix.protocol,
        baseline=matrix.baseline,
        metric=metric_name(matrix),
        cols=tuple((cols[col], col, _place(col, order[1])) for col in matrix.cols),
        rows=tuple(rows),
        dense=len(matrix.cols) > DENSE,
        note=detectable_text(matrix),
    )


def _place(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def _heat_cell(matrix: Matrix, row: str, col: str, share: float, scale: Scale, scores: Scale) -> HeatCell:
    cell, is_gain = matrix.cells[row, col], matrix.is_difference
    what = f"{matrix.value} over {matrix.baseline}" if is_gain else "score"
    tip = "\n".join(f"{label}\t{value}" for label, value in _tip(cell, what, scale, scores))
    if cell.estimate is None:
        return HeatCell(cell.state.value, "", f"gap {_mark(cell)}", "0", tip)
    kind = ("pos" if cell.estimate.value >= 0 else "neg") if is_gain else "score"
    weak = " weak" if is_gain and not cell.discovery else ""
    text = scale.text(cell.estimate.value, signed=is_gain)
    if cell.left_out:
        text += "†"
    interval = scale.interval(cell.estimate, signed=is_gain)
    return HeatCell(text, interval, f"{kind}{weak} {_mark(cell)}", f"{share:.3f}", tip)


def _mark(cell: Cell) -> str:
    return {Relation.SAME: "same", Relation.INCLUDES: "includes", Relation.APART: ""}[cell.relation]


def _tip(cell: Cell, what: str, scale: Scale, scores: Scale) -> list[tuple[str, str]]:
    if cell.estimate is None:
        return [
            ("state", cell.state.value),
            *([("error", first_line(cell.error))] if cell.error else []),
        ]
    signed = what != "score"
    lines = [
        (what, scale.text(cell.estimate.value, signed=signed)),
        ("95 % interval", scale.interval(cell.estimate, signed=signed)),
        *(_test(cell, scale) if cell.inference else []),
        *([("score", scores.text(cell.score))] if signed and cell.score is not None else []),
        *((f"{name} scores", scores.text(value)) for name, value in cell.baselines.items()),
        ("metric", cell.metric.replace("_", " ") + scores.unit),
        ("test examples", f"{cell.num_test:,}"),
        ("training examples", " to ".join(dict.fromkeys(f"{size:,}" for size in cell.num_train))),
        ("seeds", ", ".join(map(str, cell.seeds))),
        ("relation", cell.relation.value),
    ]
    if cell.num_pairs > 1:
        lines.append(("mean over", f"{cell.num_pairs} pairs"))
    if cell.left_out:
        lines.append(("left out", ", ".join(f"{number} {state}" for state, number in cell.left_out.items())))
    return lines


def _test(cell: Cell, scale: Scale) -> list[tuple[str, str]]:
    inference = cell.inference
    assert inference is not None
    lines = [
        ("p", p_text(inference.p) + (", these models" if inference.conditional else "")),
        ("q among all cells", p_text(cell.q)),
    ]
    if inference.effect_examples is not None and cell.num_pairs == 1:
        lines.append(("effect, SD of examples", f"{inference.effect_examples:+.2f}"))
    if inference.effect_seeds is not None:
        lines += [
            ("effect, SD of seeds", f"{inference.effect_seeds:+.2f}"),
            ("p over examples alone", p_text(inference.p_examples)),
            ("p over seeds alone", p_text(inference.p_seeds)),
        ]
    if cell.detectable is not None:
        lines.append(("detectable", scale.text(cell.detectable)))
    return lines


def _floor_row(name: str, floor: Matrix, matrix: Matrix, scale: Scale) -> HeatRow:
    cells = (floor.cells.get(("", col)) for col in matrix.cols)
    return HeatRow(name, name, tuple(_floor_cell(cell, scale) for cell in cells), 0, is_floor=True)


def _floor_cell(cell: Cell | None, scale: Scale) -> HeatCell:
    if cell is None or cell.estimate is None:
        state = cell.state.value if cell else "not planned"
        return HeatCell(state, "", "gap", "0", f"state\t{state}")
    interval = scale.interval(cell.estimate)
    tip = f"score\t{scale.text(cell.estimate.value)}\n95 % interval\t{interval}"
    return HeatCell(scale.text(cell.estimate.value), interval, "floor", "0", tip)
