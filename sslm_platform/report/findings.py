"""What helps what, in words, from the numbers of the gain matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sslm_platform.report.matrix import Cell, Matrix, Relation, State
from sslm_platform.report.numbers import Scale, count, detectable_text, scale_of, short_names
from sslm_platform.report.protocols import BASELINE_MEANING, leaves_out
from sslm_platform.report.views import Family
from sslm_platform.statistics import FALSE_DISCOVERY_RATE, MIN_SEEDS, Estimate

NUM_SHOWN = 3

ONE_SEED = (
    "intervals and tests are over test examples alone and hold for the one model that was trained; "
    "another seed may differ by more, and what is significant may be due to this seed."
)
FEW_SEEDS = (
    "intervals and tests are over test examples alone, conditional on the trained models; "
    "so few seeds do not tell how much another one would change."
)
DRAWS = (
    "intervals and tests are over draws of the training examples and over test examples, for the one source "
    "model that was trained; another seed may differ by more."
)
MANY_SEEDS = "intervals and tests are over seeds and test examples."
DISCOVERIES = (
    "Gains and harms count where they are significant among all cells of their matrix, at a false discovery "
    f"rate of {FALSE_DISCOVERY_RATE:.0%} (Benjamini-Hochberg). Other cells are undecided, not without effect."
)


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
    parts = [f"Gain over {matrix.baseline} ({meaning}).", _verdict(apart, matrix.protocol), _among(pairs)]
    if not any(cell.discovery for _, cell in pairs):
        parts.append(detectable_text(matrix))
    return Finding(
        title,
        " ".join(part for part in parts if part),
        gains=_strongest(matrix, others, helps=True),
        harms=_strongest(matrix, others, helps=False),
    )


def _verdict(cells: Sequence[Cell], protocol: str) -> str:
    if not cells:
        return "No source was measured on a target outside its own training."
    measured = [cell for cell in cells if cell.estimate]
    unmeasured = len(cells) - len(measured)
    left = f" {count(unmeasured, 'pair')} could not be measured." if unmeasured else ""
    if not measured:
        return f"Nothing is known yet.{left}"
    helps, harms = _decided(measured)
    undecided = len(measured) - helps - harms
    if leaves_out(protocol):
        tasks = f"Of {count(len(measured), 'task')} whose own data were left out"
        return f"{tasks}, {harms} lose, {helps} gain, {undecided} undecided.{left}"
    pairs = f"Of {count(len(measured), 'pair')} of a source and a target that it was not trained on"
    if not helps and not harms:
        return f"{pairs}, none shows a difference that is significant among all of them.{left}"
    return f"{pairs}, {helps} help, {harms} harm, {undecided} undecided.{left}"


def _decided(cells: Sequence[Cell]) -> tuple[int, int]:
    return sum(cell.helps for cell in cells), sum(cell.harms for cell in cells)


def _among(pairs: Sequence[tuple[tuple[str, str], Cell]]) -> str:
    cells = [cell for _, cell in pairs if cell.relation is Relation.INCLUDES and cell.estimate]
    if not cells:
        return ""
    helps, harms = _decided(cells)
    return (
        f"Where the source includes the target among others, {helps} of {len(cells)} help and {harms} harm."
    )


def _strongest(
    matrix: Matrix, pairs: Sequence[tuple[tuple[str, str], Cell]], *, helps: bool
) -> tuple[str, ...]:
    decided = [
        (cell.estimate, pair, cell.relation)
        for pair, cell in pairs
        if cell.estimate and (cell.helps if helps else cell.harms)
    ]
    decided.sort(key=lambda item: (-abs(item[0].value), item[1]))
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
    samples = [
        (f"{family.task} {family.protocol}", len(cell.seeds), cell.sample.num_seeds)
        for family in families
        for cell in family.scores.all_cells
        if cell.sample
    ]
    one = [name for name, _, repeated in samples if repeated == 1] + ["joint model"] * joint
    few = [name for name, _, repeated in samples if 1 < repeated < MIN_SEEDS]
    drawn = [name for name, seeds, repeated in samples if repeated >= MIN_SEEDS and seeds == 1]
    many = [name for name, seeds, repeated in samples if repeated >= MIN_SEEDS and seeds > 1]
    found = [
        f"{title} ({', '.join(dict.fromkeys(names))}): {text}"
        for title, names, text in (
            ("One seed", one, ONE_SEED),
            (f"Two to {MIN_SEEDS - 1} seeds or draws", few, FEW_SEEDS),
            (f"One seed, {MIN_SEEDS} draws or more", drawn, DRAWS),
            (f"{MIN_SEEDS} seeds or more", many, MANY_SEEDS),
        )
        if names
    ]
    return (*found, *([DISCOVERIES] if any(family.gains for family in families) and samples else []), *notes)
