"""What a run cost: time and tokens of its trainings and of each protocol's cells."""

from __future__ import annotations

from dataclasses import dataclass

from sslm_platform.report.estimates import outcome
from sslm_platform.report.numbers import duration
from sslm_platform.report.records import TrainingRecord
from sslm_platform.report.run import Run


@dataclass(frozen=True, slots=True)
class CostRow:
    """One line of the cost table, as text."""

    what: str
    cells: str
    time: str
    tokens: str


def cost_rows(run: Run) -> list[CostRow]:
    """Trainings first, the joint one before the sources', then protocols as planned, then the whole run."""
    rows = []
    if run.curves.steps:
        tokens, padded = run.curves.num_tokens, run.curves.num_padded_tokens
        rows.append(CostRow("joint training", "", duration(run.curves.seconds), _trained(tokens, padded)))
    if run.plan.trainings:
        trained = [run.trainings[id_] for id_ in run.plan.trainings if id_ in run.trainings]
        tokens, padded = sum(t.num_tokens for t in trained), sum(t.num_padded_tokens for t in trained)
        number = f"{len(trained)} of {len(run.plan.trainings)}"
        seconds = sum(t.seconds for t in trained)
        rows.append(CostRow("source trainings", number, duration(seconds), _trained(tokens, padded)))
    for protocol in dict.fromkeys(planned.key.protocol for planned in run.plan.cells):
        of_protocol = (cell for cell in run.plan.cells if cell.key.protocol == protocol)
        planned = [cell.id for cell in of_protocol if not cell.undefined]
        done = [run.cells[id_] for id_ in planned if id_ in run.cells]
        seconds, tokens = sum(cell.seconds for cell in done), sum(cell.num_tokens for cell in done)
        rows.append(CostRow(protocol, f"{len(done)} of {len(planned)}", duration(seconds), f"{tokens:,}"))
    rows += _expected(run)
    if run.record.seconds:
        rows.append(CostRow("whole run", "", duration(run.record.seconds), ""))
    return rows


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One source training, as text."""

    source: str
    seed: int
    steps: str
    time: str
    tokens: str
    batches: str


def training_rows(run: Run) -> list[TrainingRow]:
    """Return every source training of the plan that has ended, in the plan's order."""
    found = [run.trainings[id_] for id_ in run.plan.trainings if id_ in run.trainings]
    return [
        TrainingRow(
            training.source,
            training.seed,
            f"{training.num_steps:,}",
            duration(training.seconds),
            _trained(training.num_tokens, training.num_padded_tokens),
            ", ".join(_drawn(training, feed) for feed in training.slots),
        )
        for training in found
    ]


def _drawn(training: TrainingRecord, feed: str) -> str:
    """Return how many batches of a feed were drawn, and its share beside the one that was intended."""
    count = training.slots[feed]
    if len(training.slots) == 1 or feed not in training.intended:
        return f"{feed} {count:,}"
    share = count / sum(training.slots.values())
    return f"{feed} {count:,} ({share:.1%}, intended {training.intended[feed]:.1%})"


def _expected(run: Run) -> list[CostRow]:
    """Return what the last plan expected of the units that are finished now, and how wrong it was."""
    found = outcome(run.estimate, run.cells, run.trainings) if run.estimate else None
    if found is None:
        return []
    number = f"{found.num_units} of {len(run.estimate.units) if run.estimate else 0} units of work"
    time = f"{duration(found.expected_seconds)} (they took {found.ratio:.2f} times that)"
    tokens = f"{found.expected_tokens:,} (they took {found.num_tokens:,})"
    return [CostRow("expected beforehand", number, time, tokens)]


def _trained(tokens: int, padded: int) -> str:
    return f"{tokens:,}" + (f" ({tokens / padded:.0%} of the padded)" if padded else "")
