"""Numbers and names as a reader sees them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sslm_platform.report.matrix import Cell, Matrix
from sslm_platform.statistics import POWER, Estimate

NO_SOURCE = "no source"
TASK = re.compile(r"([\w.-]+)@")


@dataclass(frozen=True, slots=True)
class Scale:
    """How a metric is printed: ``factor`` times the value, with ``digits`` decimals."""

    factor: float
    digits: int

    def text(self, value: float, *, signed: bool = False) -> str:
        """Print a value; what rounds to zero has no sign."""
        shown = round(self.factor * value, self.digits) + 0.0
        return f"{shown:{'+' if signed and shown else ''}.{self.digits}f}"

    def interval(self, estimate: Estimate, *, signed: bool = False) -> str:
        """Print ``[low, high]``, or ``no interval``."""
        if estimate.low is None or estimate.high is None:
            return "no interval"
        low, high = (self.text(bound, signed=signed) for bound in (estimate.low, estimate.high))
        return f"[{low}, {high}]"

    @property
    def unit(self) -> str:
        """What to put after a metric's name."""
        return " × 100" if self.factor == 100 else ""


def scale_for(values: Iterable[float], best: float) -> Scale:
    """Choose: percent for metrics that are best at 1 and lie within -1..1, else about three digits."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value]
    if best == 1.0 and max(sizes, default=0.0) <= 1.0:
        return Scale(100, 1)
    smallest, largest = (math.floor(math.log10(of(sizes, default=1.0))) for of in (min, max))
    return Scale(1, max(0, min(2, 2 - smallest), 1 - largest))  # and two of the largest at least


def scale_of(cells: Sequence[Cell]) -> Scale:
    """The scale of a matrix: a small gain in perplexity is no percentage, but a share of it is one."""
    done = [cell for cell in cells if cell.estimate is not None]
    if any(cell.relative for cell in done):
        return Scale(100, 1)
    best = done[0].best if done else 1.0
    of_scores = scale_for([cell.score for cell in done if cell.score is not None], best)
    if of_scores.factor != 1:
        return of_scores
    return scale_for([cell.estimate.value for cell in done if cell.estimate], best=math.inf)


def metric_name(matrix: Matrix) -> str:
    """The metrics of a matrix's cells with their direction, as in ``macro f1 × 100``."""
    done = [cell for cell in matrix.all_cells if cell.metric]
    scale = scale_of(matrix.all_cells)
    names = dict.fromkeys(
        cell.metric.replace("_", " ") + scale.unit + ("" if cell.higher_is_better else " (lower is better)")
        for cell in done
    )
    return ", ".join(names) or "no value yet"


def detectable_text(matrix: Matrix) -> str:
    """What size of effect the matrix could have shown; empty where it has no tests."""
    if matrix.detectable is None:
        return ""
    scale = scale_of(matrix.all_cells)
    low, high = matrix.detectable
    if not high:
        return "The compared predictions are equal on every test example: no detectable effect can be named."
    least = (
        ""
        if not low or scale.text(low) == scale.text(high)
        else f"; in the column measured best, {scale.text(low)}"
    )
    return f"A true effect of {scale.text(high)} is found in any column with power {POWER:.0%}{least}."


def p_text(p: float | None) -> str:
    """``0.034``, or ``< 0.001``."""
    if p is None:
        return "not measured"
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def short_names(names: Sequence[str], beside: Sequence[str] = ()) -> dict[str, str]:
    """Map ``task@domain`` to ``domain`` where all, also those ``beside`` them, have one task.

    So are the tasks of a name such as ``all but task@domain``. Other names stay; empty is ``no source``.
    """
    tasks = {task for name in (*names, *beside) for task in TASK.findall(name) or [name]}
    one_task = len(tasks) == 1 and all("@" in name for name in names)
    return {name: (TASK.sub("", name) if one_task else name) or NO_SOURCE for name in names}


def count(number: int, what: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """``8.1 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
