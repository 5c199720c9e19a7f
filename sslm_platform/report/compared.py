"""Predicted against measured transfer as the page shows it: a table for each protocol, and points to plot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sslm_platform.report.agreement import TOP, Agreement, Figure, Point, agreements
from sslm_platform.report.plain import PlainTable
from sslm_platform.report.predictions import predicted_matrices
from sslm_platform.report.run import Run

FEW_TARGETS = 5


@dataclass(frozen=True, slots=True)
class Compared:
    """The tables; and each estimator's points, by the text that names its protocol and itself."""

    tables: tuple[PlainTable, ...]
    plots: tuple[dict[str, Any], ...]
    note: str


def compared(run: Run) -> Compared:
    """Compare a run's predictions with its measured cells; empty where it has none of either."""
    found = agreements(predicted_matrices(run.predictions).values(), run.plan, run.cells)
    return Compared(agreement_tables(found), tuple(_plot(agreement) for agreement in found), note(found))


def agreement_tables(found: Sequence[Agreement]) -> tuple[PlainTable, ...]:
    """Return a table for each protocol, with a row for each estimator."""
    by_protocol: dict[str, list[Agreement]] = defaultdict(list)
    for agreement in found:
        by_protocol[agreement.protocol].append(agreement)
    return tuple(_table(protocol, group) for protocol, group in by_protocol.items())


def note(found: Sequence[Agreement]) -> str:
    """Return how the tables are to be read."""
    said = (
        "How well estimators rank the sources of each target: means over targets with 95 % intervals. Regret"
        " is 0 where the source predicted best is best, 1 where it is the worst."
    )
    if any(len(agreement.targets) < FEW_TARGETS for agreement in found):
        said += f" Over fewer than {FEW_TARGETS} targets intervals are too narrow."
    return said


def _table(protocol: str, group: Sequence[Agreement]) -> PlainTable:
    tops = [k for k in TOP if any(k in agreement.regret for agreement in group)]
    ranks = [f"{what}@{k}" for what in ("regret", "recall") for k in tops]
    body = tuple(
        (
            agreement.estimator,
            str(len(agreement.targets)),
            " to ".join(dict.fromkeys(map(str, agreement.num_sources))),
            _text(agreement.kendall),
            _text(agreement.spearman),
            *(_text(figures.get(k)) for figures in (agreement.regret, agreement.recall) for k in tops),
        )
        for agreement in group
    )
    return PlainTable(protocol, ("estimator", "targets", "sources", "Kendall τ", "Spearman", *ranks), body)


def _text(figure: Figure | None) -> str:
    if figure is None:
        return "no order"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.2f}"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def _plot(agreement: Agreement) -> dict[str, Any]:
    """Return points relative to their target's mean: an estimator ranks sources, no more."""
    by_target: dict[str, list[Point]] = defaultdict(list)
    for point in agreement.points:
        by_target[point.target].append(point)
    traces = [
        {
            "name": target,
            "x": _centred([point.predicted for point in points]),
            "y": _centred([point.measured for point in points]),
            "text": [point.source for point in points],
        }
        for target, points in by_target.items()
        if len(points) > 1
    ]
    return {"protocol": agreement.protocol, "estimator": agreement.estimator, "traces": traces}


def _centred(values: Sequence[float]) -> list[float]:
    mean = float(np.mean(values))
    return [float(f"{value - mean:.4g}") for value in values]
