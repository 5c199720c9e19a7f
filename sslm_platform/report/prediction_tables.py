"""Predictions, their cost, what they are worth, and groups, as terminal tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sslm_platform.report.agreement import TOP, Agreement, Figure
from sslm_platform.report.grouping import Gain, GroupPlan, Outcome
from sslm_platform.report.predictions import Prediction, predicted_matrices, prediction_cost
from sslm_platform.report.records import CellRecord

FEW_TARGETS = 5
NUM_REASONS = 5


def print_predictions(
    console: Console,
    predictions: Sequence[Prediction],
    found: Sequence[Agreement],
    cells: Iterable[CellRecord],
) -> None:
    """Print what each estimator cost and left out, the sources that it prefers, and how right it was."""
    _print(console, "Predictions", _cost_table(predictions), _cost_note(predictions, cells))
    for line in _reasons(predictions):
        console.print(Text(line, style="dim"))
    console.print()
    _print(console, "Best source of each target, and estimators that say so", _best_table(predictions))
    for protocol in dict.fromkeys(agreement.protocol for agreement in found):
        chosen = [agreement for agreement in found if agreement.protocol == protocol]
        _print(console, f"Predicted against measured: {protocol}", _agreement_table(chosen), _note(chosen))


def print_groups(console: Console, groups: GroupPlan, spec: Path) -> None:
    """Print a grouping and how to try it."""
    table = _table("group", "serves", "affinity")
    for number, group in enumerate(groups.groups):
        served = [task for task, of in groups.serves.items() if of == number]
        table.add_row(
            " + ".join(group), ", ".join(served), ", ".join(f"{groups.predicted[t]:+.3g}" for t in served)
        )
    how = f"{groups.method}, by {groups.by}"
    unit = "" if groups.signed else " (standard scores: above 0 is better than the mean partner)"
    notes = [f"Mean affinity {groups.value:+.3g}{unit}."]
    if groups.unknown:
        notes.append(f"{len(groups.unknown)} pairs have no value and count as no effect.")
    _print(console, f"Groups ({how})", table, " ".join(notes))
    console.print(f"try it: sslm run {spec}", highlight=False, soft_wrap=True)
    checked = f"then:   sslm transfer group RUN --check {spec.with_suffix('.json')}"
    console.print(checked, highlight=False, soft_wrap=True)


def print_outcomes(console: Console, found: Sequence[Outcome]) -> None:
    """Print what became of each task of a grouping."""
    table = _table("task", "trained with", "predicted", "metric", "score", "over alone", "over joint", "")
    for outcome in found:
        others = [task for task in outcome.group if task != outcome.task]
        table.add_row(
            outcome.task,
            ", ".join(others) or "nothing",
            f"{outcome.predicted:+.3g}",
            outcome.metric,
            f"{outcome.score:.3f}",
            _gain(outcome.over_alone),
            _gain(outcome.over_joint),
            outcome.verdict,
        )
    counts = Counter(outcome.verdict for outcome in found)
    said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    _print(console, "What came true", table, f"{said}. Gains with 95 % intervals over test examples.")


def _cost_table(predictions: Sequence[Prediction]) -> Table:
    table = _table("estimator", "pairs", "undefined", "failed", "formula s", "evidence s", "models")
    for name in sorted({p.estimator for p in predictions}):
        own = [p for p in predictions if p.estimator == name]
        statuses, cost = Counter(p.status for p in own), prediction_cost(own)
        table.add_row(
            name,
            str(statuses["done"]),
            str(statuses["undefined"]),
            str(statuses["failed"]),
            f"{cost.own:.1f}",
            f"{cost.evidence:.1f}",
            str(cost.trainings),
        )
    return table


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


def _best_table(predictions: Sequence[Prediction]) -> Table:
    votes: dict[str, Counter[str]] = {}
    for matrix in predicted_matrices(predictions).values():
        for target in matrix.targets:
            rivals = {s: matrix.values[s, target] for s in matrix.sources if (s, target) in matrix.values}
            if rivals:
                votes.setdefault(target, Counter())[max(rivals, key=lambda s: rivals[s])] += 1
    table = _table("target", "source")
    for target, counted in sorted(votes.items()):
        table.add_row(target, ", ".join(f"{source} ({count})" for source, count in counted.most_common(4)))
    return table


def _agreement_table(found: Sequence[Agreement]) -> Table:
    tops = [k for k in TOP if any(k in agreement.regret for agreement in found)]
    ranks = [f"{what}@{k}" for what in ("regret", "recall") for k in tops]
    table = _table("estimator", "targets", "sources", "Kendall tau", "Spearman", *ranks)
    for agreement in found:
        low, high = agreement.num_sources
        table.add_row(
            agreement.estimator,
            str(len(agreement.targets)),
            str(low) if low == high else f"{low}-{high}",
            _figure(agreement.kendall),
            _figure(agreement.spearman),
            *(_figure(agreement.regret.get(k)) for k in tops),
            *(_figure(agreement.recall.get(k)) for k in tops),
        )
    return table


def _note(found: Sequence[Agreement]) -> str:
    said = "Means over targets [95 % interval]. Regret: 0 finds the best source, 1 the worst."
    if min(len(agreement.targets) for agreement in found) < FEW_TARGETS:
        said += " Over so few targets intervals are too narrow."
    return said


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    if figure.low is None or figure.high is None:
        return f"{figure.value:.2f}"
    return f"{figure.value:.2f} \\[{figure.low:.2f},{figure.high:.2f}]"


def _gain(gain: Gain | None) -> str:
    return "" if gain is None else f"{gain.value:+.3f} \\[{gain.low:+.3f},{gain.high:+.3f}]"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        numeric = column in {"pairs", "undefined", "failed", "formula s", "evidence s", "models"}
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=not index)
    return table


def _print(console: Console, title: str, table: Table, note: str = "") -> None:
    console.print(Text(title, style="bold"))
    console.print(table)
    if note:
        console.print(Text(note, style="dim"))
    console.print()
