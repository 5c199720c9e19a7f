"""What helps what, in words, from the numbers of the gain matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sslm_platform.report.matrix import Cell, Matrix, Relation, State
from sslm_platform.report.numbers import Scale, count, scale_of, short_names
from sslm_platform.report.views import BASELINE_MEANING, Family
from sslm_platform.statistics import CONFIDENCE, Estimate

NUM_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """Sentences about one family; ``gains`` and ``harms`` are the strongest, as text."""

    title: str
    text: str
    gains: tuple[str, ...] = ()
    harms: tuple[str, ...] = ()


def find(families: Sequence[Family]) -> tuple[Finding, ...]:
    """Say for each family what the first baseline's gains show."""
    return tuple(_finding(family) for family in families)


def _finding(family: Family) -> Finding:
    title = f"{family.task}, {family.protocol}"
    if not family.gains:
        return Finding(title, "The plan has no baseline to compare with.")
    matrix = family.gains[0]
    pairs = [(pair, cell) for pair, cell in matrix.cells.items() if cell.state is not State.NOT_PLANNED]
    apart = [cell for _, cell in pairs if cell.relation is Relation.APART]
    others = [(pair, cell) for pair, cell in pairs if cell.relation is Relation.APART and cell.estimate]
    others = others or [(pair, cell) for pair, cell in pairs if cell.relation is Relation.INCLUDES]
    meaning = BASELINE_MEANING.get(matrix.baseline, matrix.baseline)
    return Finding(
        title,
        f"Gain over {matrix.baseline} ({meaning}). {_verdict(apart)}{_among(pairs)}",
        gains=_strongest(matrix, others, helps=True),
        harms=_strongest(matrix, others, helps=False),
    )


def _verdict(cells: Sequence[Cell]) -> str:
    if not cells:
        return "No source was measured on a target outside its own training."
    estimates = [cell.estimate for cell in cells if cell.estimate]
    unmeasured = len(cells) - len(estimates)
    left = f" {count(unmeasured, 'pair')} could not be measured." if unmeasured else ""
    if not estimates:
        return f"Nothing is known yet.{left}"
    helps, harms = _decided(estimates)
    undecided = len(estimates) - helps - harms
    pairs = f"Of {count(len(estimates), 'pair')} of a source and a target that it was not trained on"
    if not helps and not harms:
        return f"{pairs}, none shows a difference: every {CONFIDENCE:.0%} interval includes 0.{left}"
    return f"{pairs}, {helps} help, {harms} harm, {undecided} undecided.{left}"


def _decided(estimates: Sequence[Estimate]) -> tuple[int, int]:
    decided = [estimate for estimate in estimates if estimate.excludes_zero]
    helps = sum(estimate.value > 0 for estimate in decided)
    return helps, len(decided) - helps


def _among(pairs: Sequence[tuple[tuple[str, str], Cell]]) -> str:
    estimates = [cell.estimate for _, cell in pairs if cell.relation is Relation.INCLUDES and cell.estimate]
    if not estimates:
        return ""
    helps, harms = _decided(estimates)
    return (
        f" Where the source includes the target among others, {helps} of {len(estimates)} help "
        f"and {harms} harm."
    )


def _strongest(
    matrix: Matrix, pairs: Sequence[tuple[tuple[str, str], Cell]], *, helps: bool
) -> tuple[str, ...]:
    sign = 1 if helps else -1
    decided = [
        (cell.estimate, pair, cell.relation)
        for pair, cell in pairs
        if cell.estimate and cell.estimate.excludes_zero and sign * cell.estimate.value > 0
    ]
    decided.sort(key=lambda item: (-sign * item[0].value, item[1]))
    rows, cols = short_names(matrix.rows, matrix.cols), short_names(matrix.cols)
    scale = scale_of(matrix.all_cells)
    return tuple(
        f"{rows[row]} → {cols[col]} {_amount(scale, estimate)}"
        + (" (target among the sources)" if relation is Relation.INCLUDES else "")
        for estimate, (row, col), relation in decided[:NUM_SHOWN]
    )


def _amount(scale: Scale, estimate: Estimate) -> str:
    return f"{scale.text(estimate.value, signed=True)} {scale.interval(estimate, signed=True)}"


def caveats(families: Sequence[Family], notes: Sequence[str], *, joint: bool) -> tuple[str, ...]:
    """What a reader must know before believing a number; the run's own notes last.

    ``joint`` says that the joint model, which has one seed always, has scores.
    """
    cells = [cell for family in families for cell in family.scores.all_cells if cell.estimate]
    found = []
    if joint or any(len(cell.seeds) == 1 for cell in cells):
        found.append(
            "One seed: intervals are over test examples only, for the one model that was trained; "
            "another seed may differ by more."
        )
    if any(len(cell.seeds) > 1 for cell in cells):
        found.append("Several seeds: intervals are over test examples and seeds.")
    if cells:
        found.append(
            "Each interval stands alone, with no correction for the number of cells: of the pairs with no "
            f"true difference, about {1 - CONFIDENCE:.0%} seem to have one."
        )
    return (*found, *notes)
