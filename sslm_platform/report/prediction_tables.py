"""Predictions, their cost, what they are worth, and groups, in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from sslm_platform.report.agreement import Agreement
from sslm_platform.report.compared import agreement_tables, note
from sslm_platform.report.console import print_plain
from sslm_platform.report.grouping import GroupPlan, Outcome
from sslm_platform.report.grouping_view import groups_table, groups_text, outcomes_table
from sslm_platform.report.plain import PlainTable
from sslm_platform.report.predictions import Prediction, predicted_matrices, prediction_cost
from sslm_platform.report.records import CellRecord

NUM_REASONS = 5


def print_predictions(
    console: Console,
    predictions: Sequence[Prediction],
    found: Sequence[Agreement],
    cells: Iterable[CellRecord],
) -> None:
    """Print what each estimator cost and left out, the sources that it prefers, and how right it was."""
    print_plain(_cost_table(predictions), console, _cost_note(predictions, cells))
    for line in _reasons(predictions):
        console.print(Text(line, style="dim"))
    console.print()
    print_plain(_best_table(predictions), console)
    for table in agreement_tables(found):
        titled = replace(table, title=f"Predicted against measured: {table.title}")
        print_plain(titled, console, note(found))


def print_groups(console: Console, groups: GroupPlan, spec: Path) -> None:
    """Print a grouping and how to try it."""
    print_plain(groups_table(groups), console, groups_text(groups))
    console.print(f"try it: sslm run {spec}", highlight=False, soft_wrap=True)
    checked = f"then:   sslm transfer group RUN --check {spec.with_suffix('.json')}"
    console.print(checked, highlight=False, soft_wrap=True)


def print_outcomes(console: Console, found: Sequence[Outcome]) -> None:
    """Print what became of each task of a grouping."""
    print_plain(outcomes_table(found), console, "Gains with 95 % intervals over test examples.")


def _cost_table(predictions: Sequence[Prediction]) -> PlainTable:
    body = []
    for name in sorted({p.estimator for p in predictions}):
        own = [p for p in predictions if p.estimator == name]
        statuses, cost = Counter(p.status for p in own), prediction_cost(own)
        counts = (str(statuses[status]) for status in ("done", "undefined", "failed"))
        body.append((name, *counts, f"{cost.own:.1f}", f"{cost.evidence:.1f}", str(cost.trainings)))
    header = ("estimator", "pairs", "undefined", "failed", "formula s", "evidence s", "models")
    return PlainTable("Predictions", header, tuple(body))


def _cost_note(predictions: Sequence[Prediction], cells: Iterable[CellRecord]) -> str:
    cost = prediction_cost(predictions)
    said = f"All of them: {cost.own + cost.evidence:.0f} s, evidence that several read counted once"
    if cost.trainings:
        said += f", beside the {cost.trainings} source trainings"
    measured = [cell for cell in cells if cell.status == "done"]
    if not measured:
        return f"{said}."
    seconds = sum(cell.seconds for cell in measured)
    return f"{said}; the {len(measured)} measured cells took {seconds:.0f} s beside the same trainings."


def _reasons(predictions: Sequence[Prediction]) -> list[str]:
    """Return why pairs have no value, most frequent first; a failure is never left out."""
    undefined = Counter(p.reason for p in predictions if p.status == "undefined").most_common()
    lines = [f"{count} undefined: {reason}" for reason, count in undefined[:NUM_REASONS]]
    rest = sum(count for _, count in undefined[NUM_REASONS:])
    if rest:
        lines.append(f"{rest} undefined for other reasons, which their records give")
    failed = Counter(f"{p.estimator}: {p.reason}" for p in predictions if p.status == "failed")
    return lines + [f"{count} failed: {reason}" for reason, count in failed.most_common()]


def _best_table(predictions: Sequence[Prediction]) -> PlainTable:
    votes: dict[str, Counter[str]] = {}
    for matrix in predicted_matrices(predictions).values():
        for target in matrix.targets:
            rivals = {s: matrix.values[s, target] for s in matrix.sources if (s, target) in matrix.values}
            if rivals:
                votes.setdefault(target, Counter())[max(rivals, key=lambda s: rivals[s])] += 1
    body = tuple(
        (target, ", ".join(f"{source} ({count})" for source, count in counted.most_common(4)))
        for target, counted in sorted(votes.items())
    )
    title = "Best source of each target, and estimators that say so"
    return PlainTable(title, ("target", "source"), body)
