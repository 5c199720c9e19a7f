"""Matrices as PDF, SVG and PNG for slides and papers; the same records give the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslm_platform.files import atomic_path
from sslm_platform.report.colors import hue, mix, strengths
from sslm_platform.report.matrix import Cell, Matrix, Relation
from sslm_platform.report.numbers import Scale, scale_of, short_names
from sslm_platform.report.tables import caption

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL_WIDTH, CELL_HEIGHT, CHARACTER = 1.15, 0.62, 0.085  # inches
FOOT = 0.42
INK, FAINT = "#16202a", "#5b6672"
LEGEND = "Outlined: trained on the target alone. Dashed: target among the sources."
GAIN_LEGEND = " Pale: not significant among the cells shown (q > 0.05)."


# Without None matplotlib writes the date and its version.
METADATA: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
}
SUFFIXES = tuple(METADATA)


def write_figures(matrix: Matrix, title: str, stem: Path) -> None:
    """Write ``stem.pdf``, ``stem.svg`` and ``stem.png``."""
    import matplotlib as mpl

    # Without a salt matplotlib draws random ids.
    with mpl.rc_context(
        {"svg.hashsalt": "sslm", "pdf.fonttype": 42, "font.family": "DejaVu Sans", "font.size": 9}
    ):
        figure = _draw(matrix, title)
        for suffix in SUFFIXES:
            with atomic_path(stem.with_suffix(suffix)) as aside:
                figure.savefig(
                    aside, format=suffix[1:], dpi=160, metadata=METADATA[suffix], facecolor="white"
                )


def _draw(matrix: Matrix, title: str) -> Figure:
    from matplotlib.figure import Figure

    rows, cols = short_names(matrix.rows, matrix.cols), short_names(matrix.cols)
    label = 0.3 + CHARACTER * max(len(name) for name in rows.values())
    upright = max(len(name) for name in cols.values()) * CHARACTER <= CELL_WIDTH
    head = 1.0 if upright else 0.8 + CHARACTER * max(len(name) for name in cols.values())
    body_width, body_height = CELL_WIDTH * len(cols), CELL_HEIGHT * len(rows)
    width, height = max(label + body_width + 0.2, 6.2), head + body_height + FOOT
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((label / width, FOOT / height, body_width / width, body_height / height))
    axes.set(xlim=(0, len(cols)), ylim=(len(rows), 0))
    axes.xaxis.tick_top()
    axes.set_xticks([i + 0.5 for i in range(len(cols))], list(cols.values()), rotation=0 if upright else 90)
    axes.set_yticks([i + 0.5 for i in range(len(rows))], list(rows.values()))
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    legend = LEGEND + (GAIN_LEGEND if matrix.is_difference else "")
    figure.text(0.1 / width, 0.12 / height, legend, size=7.5, color=FAINT)
    _draw_cells(axes, matrix)
    figure.text(0.1 / width, 1 - 0.12 / height, title, va="top", weight="bold", size=10, color=INK)
    figure.text(0.1 / width, 1 - 0.34 / height, caption(matrix), va="top", size=8, color=FAINT)
    return figure


def _draw_cells(axes: Axes, matrix: Matrix) -> None:
    cells, is_gain = matrix.all_cells, matrix.is_difference
    shares, scale = strengths(cells, is_gain=is_gain), scale_of(cells)
    for index, (cell, share) in enumerate(zip(cells, shares, strict=True)):
        top, left = divmod(index, len(matrix.cols))
        axes.add_patch(_box(cell, left, top, mix(hue(cell, is_gain=is_gain), share)))
        _write(axes, cell, left + 0.5, top + 0.5, scale, is_gain)


def _box(cell: Cell, left: int, top: int, color: str) -> Any:
    from matplotlib.patches import Rectangle

    style: dict[str, Any] = {"facecolor": color, "edgecolor": "white", "linewidth": 2}
    if cell.estimate is None:
        style |= {"facecolor": "#f1f3f5", "edgecolor": "#d5dade", "hatch": "////", "linewidth": 0}
    if cell.relation is not Relation.APART:
        dashes = "-" if cell.relation is Relation.SAME else (0, (2, 2))
        style |= {"edgecolor": INK, "linewidth": 1.4, "linestyle": dashes}
    return Rectangle((left + 0.03, top + 0.05), 0.94, 0.9, **style)


def _write(axes: Axes, cell: Cell, x: float, y: float, scale: Scale, is_gain: bool) -> None:
    if cell.estimate is None:
        axes.text(x, y, cell.state.value, ha="center", va="center", size=8, style="italic", color=FAINT)
        return
    weak = is_gain and not cell.discovery
    value = scale.text(cell.estimate.value, signed=is_gain)
    weight = "normal" if weak else "bold"
    axes.text(x, y - 0.14, value, ha="center", va="center", weight=weight, color=FAINT if weak else INK)
    interval = scale.interval(cell.estimate, signed=is_gain)
    axes.text(x, y + 0.22, interval, ha="center", va="center", size=6.5, color=FAINT if weak else INK)
