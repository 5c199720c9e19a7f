"""One matrix as the page's heat table: text, strength of colour, and what hovering says."""

from __future__ import annotations

from dataclasses import dataclass

from sslm_platform.report.colors import strengths
from sslm_platform.report.matrix import Cell, Matrix, Relation
from sslm_platform.report.numbers import Scale, detectable_text, metric_name, p_text, scale_of, short_names
from sslm_platform.report.tables import first_line
from sslm_platform.report.views import Family

DENSE = 8  # more columns than this leave no room for intervals inside the cells


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One cell: ``kind`` are CSS classes, ``tip`` lines of ``label TAB value``."""

    text: str
    interval: str
    kind: str
    strength: str
    tip: str


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A row with its short and full name; ``is_floor`` marks a baseline that needs no source."""

    name: str
    full: str
    cells: tuple[HeatCell, ...]
    is_floor: bool = False


@dataclass(frozen=True, slots=True)
class Heat:
    """A matrix ready to be shown."""

    baseline: str
    metric: str
    cols: tuple[tuple[str, str], ...]
    rows: tuple[HeatRow, ...]
    dense: bool
    note: str


def heat(matrix: Matrix, family: Family) -> Heat:
    """Lay a matrix out; a matrix of scores ends with the baselines that do not depend on the source."""
    names, cols = short_names(matrix.rows, matrix.cols), short_names(matrix.cols)
    scale, is_gain = scale_of(matrix.all_cells), matrix.is_difference
    shares = iter(strengths(matrix.all_cells, is_gain=is_gain))
    rows = [
        HeatRow(
            names[row],
            row,
            tuple(
                _heat_cell(matrix, row, col, next(shares), scale, scale_of(family.scores.all_cells))
                for col in matrix.cols
            ),
        )
        for row in matrix.rows
    ]
    if not is_gain:
        rows += [_floor_row(name, floor, matrix, scale) for name, floor in family.floor.items()]
    return Heat(
        baseline=matrix.baseline,
        metric=metric_name(matrix),
        cols=tuple((cols[col], col) for col in matrix.cols),
        rows=tuple(rows),
        dense=len(matrix.cols) > DENSE,
        note=detectable_text(matrix),
    )


def _heat_cell(matrix: Matrix, row: str, col: str, share: float, scale: Scale, scores: Scale) -> HeatCell:
    cell, is_gain = matrix.cells[row, col], matrix.is_difference
    what = f"{matrix.value} over {matrix.baseline}" if is_gain else "score"
    tip = "\n".join(f"{label}\t{value}" for label, value in _tip(cell, row, col, what, scale, scores))
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


def _tip(cell: Cell, row: str, col: str, what: str, scale: Scale, scores: Scale) -> list[tuple[str, str]]:
    lines = [("source", row or "none"), ("target", col)]
    if cell.estimate is None:
        return [
            *lines,
            ("state", cell.state.value),
            *([("error", first_line(cell.error))] if cell.error else []),
        ]
    signed = what != "score"
    lines += [
        (what, scale.text(cell.estimate.value, signed=signed)),
        ("95 % interval", scale.interval(cell.estimate, signed=signed)),
        *(_test(cell, scale) if cell.inference else []),
        *([("score", scores.text(cell.score))] if signed and cell.score is not None else []),
        *((f"{name} scores", scores.text(value)) for name, value in cell.baselines.items()),
        ("metric", cell.metric.replace("_", " ") + scores.unit),
        ("test examples", f"{cell.num_test:,}"),
        ("source examples", " to ".join(dict.fromkeys(f"{size:,}" for size in cell.num_train))),
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
    return HeatRow(name, name, tuple(_floor_cell(cell, name, scale) for cell in cells), is_floor=True)


def _floor_cell(cell: Cell | None, name: str, scale: Scale) -> HeatCell:
    if cell is None or cell.estimate is None:
        state = cell.state.value if cell else "not planned"
        return HeatCell(state, "", "gap", "0", f"baseline\t{name}\nstate\t{state}")
    interval = scale.interval(cell.estimate)
    tip = f"baseline\t{name}\nscore\t{scale.text(cell.estimate.value)}\n95 % interval\t{interval}"
    return HeatCell(scale.text(cell.estimate.value), interval, "floor", "0", tip)
