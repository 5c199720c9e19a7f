"""What helps what in one paragraph, and the best source of each target, from each family's first gains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sslm_platform.report.matrix import Cell, Matrix, Relation
from sslm_platform.report.numbers import (
    NO_SOURCE,
    count,
    metric_name,
    p_text,
    scale_of,
    short_names,
)
from sslm_platform.report.protocols import leaves_out
from sslm_platform.report.views import Family


@dataclass(frozen=True, slots=True)
class _Tested:
    """One place of a matrix of gains whose source was not trained on the target."""

    matrix: Matrix
    row: str
    col: str
    cell: Cell

    @property
    def clarity(self) -> float:
        """Gain in standard errors, which compares gains in any metric."""
        assert self.cell.inference is not None
        return abs(self.cell.inference.value) / (self.cell.inference.standard_error or float("inf"))

    @property
    def amount(self) -> str:
        """The gain with its interval."""
        assert self.cell.estimate is not None
        scale, estimate = scale_of(self.matrix.all_cells), self.cell.estimate
        return f"{scale.text(estimate.value, signed=True)} {scale.interval(estimate, signed=True)}"

    @property
    def text(self) -> str:
        """Source, target, gain, metric and protocol."""
        what = f"{metric_name(self.matrix)} over {self.matrix.baseline}, {self.matrix.protocol}"
        return f"{self.row or NO_SOURCE} → {self.col}, {self.amount} ({what})"


def lead(families: Sequence[Family]) -> str:
    """Return the paragraph that a hurried reader reads; empty where nothing was tested.

    The clearest gain and harm are those of most standard errors, because gains in different metrics have no
    common unit.
    """
    missed = _left_out([t for t in _tested(families) if leaves_out(t.matrix.protocol)])
    tested = [t for t in _tested(families) if not leaves_out(t.matrix.protocol)]
    if not tested:
        return missed
    helps, harms = [t for t in tested if t.cell.helps], [t for t in tested if t.cell.harms]
    num_matrices = len({id(t.matrix) for t in tested})
    parts = [
        f"{count(len(tested), 'pair')} of a source and a target that it was not trained on "
        f"{'was' if len(tested) == 1 else 'were'} compared with a baseline, in "
        f"{num_matrices} {'matrix' if num_matrices == 1 else 'matrices'}: {len(helps)} help, "
        f"{len(harms)} harm, {len(tested) - len(helps) - len(harms)} undecided."
    ]
    for word, found in (("gain", helps), ("harm", harms)):
        if found:
            parts.append(f"The clearest {word}: {max(found, key=lambda t: t.clarity).text}.")
    parts += [
        _most("helps most often", helps, tested, lambda t: t.row),
        _most("harms most often", harms, tested, lambda t: t.row),
        missed,
    ]
    return " ".join(part for part in parts if part)


def _left_out(tested: Sequence[_Tested]) -> str:
    """Say what tasks lose whose own data are left out: no harm of a source, but what the rest replaces."""
    if not tested:
        return ""
    lose, gain = [t for t in tested if t.cell.harms], [t for t in tested if t.cell.helps]
    text = (
        f"Of {count(len(tested), 'task')} whose own data were left out of a set, {len(lose)} lose, "
        f"{len(gain)} gain, {len(tested) - len(lose) - len(gain)} undecided."
    )
    return f"{text} The clearest loss: {max(lose, key=lambda t: t.clarity).text}." if lose else text


def _tested(families: Sequence[Family]) -> Iterator[_Tested]:
    for matrix in (family.gains[0] for family in families if family.gains):
        for (row, col), cell in matrix.cells.items():
            if cell.relation is Relation.APART and cell.inference:
                yield _Tested(matrix, row, col, cell)


def _most(
    what: str, found: Sequence[_Tested], tested: Sequence[_Tested], side: Callable[[_Tested], str]
) -> str:
    """Name the source of most discoveries, where one stands out of several."""
    counts = Counter(side(t) for t in found).most_common()
    all_of = Counter(side(t) for t in tested)
    if (
        len(all_of) < 2
        or not counts
        or counts[0][1] < 2
        or (len(counts) > 1 and counts[0][1] == counts[1][1])
    ):
        return ""
    name, number = counts[0]
    return f"{name or NO_SOURCE} {what}: in {number} of its {count(all_of[name], 'comparison')}."


@dataclass(frozen=True, slots=True)
class Advice:
    """What to train on for one target, as text; ``source`` is empty where nothing is shown to help."""

    protocol: str
    target: str
    metric: str
    source: str
    gain: str
    q: str
    num_better: int


def advice(families: Sequence[Family]) -> list[Advice]:
    """Return for each target of each family the source whose significant gain is largest.

    Sources that were trained on the target too take part; the target alone does not.
    """
    return [_advice(family.gains[0], col) for family in families if family.gains for col in _cols(family)]


def _cols(family: Family) -> tuple[str, ...]:
    matrix = family.gains[0]
    return tuple(col for col in matrix.cols if any(matrix.cells[row, col].estimate for row in matrix.rows))


def _advice(matrix: Matrix, col: str) -> Advice:
    places = ((row, matrix.cells[row, col]) for row in matrix.rows)
    helps = [
        _Tested(matrix, row, col, cell)
        for row, cell in places
        if cell.helps and cell.relation is not Relation.SAME
    ]
    over = f"{metric_name(matrix)} over {matrix.baseline}"
    if not helps:
        return Advice(matrix.protocol, col, over, "", "", "", 0)
    best = max(helps, key=lambda t: t.cell.estimate.value if t.cell.estimate else 0.0)
    name = short_names(matrix.rows, matrix.cols)[best.row]
    return Advice(matrix.protocol, col, over, name, best.amount, p_text(best.cell.q), len(helps))
