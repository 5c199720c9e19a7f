"""The HTML report: what the template shows, computed; one file that needs no network."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sslm_platform.report.charts import training_panels
from sslm_platform.report.colors import SERIES
from sslm_platform.report.compared import compared
from sslm_platform.report.cost import cost_rows, training_rows
from sslm_platform.report.findings import caveats, find
from sslm_platform.report.grouping_view import grouping_view
from sslm_platform.report.heat import Heat, heat, order_of
from sslm_platform.report.lead import advice, lead
from sslm_platform.report.numbers import count, duration, scale_for, scale_of
from sslm_platform.report.protocols import BASELINE_MEANING, explain
from sslm_platform.report.records import TaskScore
from sslm_platform.report.records_table import records_table
from sslm_platform.report.run import Run
from sslm_platform.report.sequence_tables import sequence_tables
from sslm_platform.report.sequences import sequence_scores
from sslm_platform.report.views import Family, summary

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True, slots=True)
class FamilyView:
    """One family as the template reads it."""

    family: Family
    explanation: str
    score: Heat
    gains: tuple[Heat, ...]
    summary: Sequence[Mapping[str, str]]


def render_page(run: Run, shown: Sequence[Family]) -> str:
    """Return the whole page. The same records give the same text."""
    panels, predicted = training_panels(run.curves, run.scores), compared(run)
    return page_template("report.html.j2").render(
        run=run.record,
        facts=_facts(run),
        lead=lead(shown),
        findings=find(shown),
        families=[_view(family) for family in shown],
        sequences=sequence_tables(sequence_scores(run.plan, run.cells)),
        baselines=BASELINE_MEANING,
        scores=[_score_row(score) for score in run.scores],
        has_others=any(len(score.scores) > 1 for score in run.scores),
        predicted=predicted,
        grouping=grouping_view(run),
        advice=advice(shown),
        cells=records_table(run),
        panels=panels,
        cost=cost_rows(run),
        trainings=training_rows(run),
        caveats=caveats(shown, run.record.notes, joint=bool(run.scores)),
        seeds=sorted({planned.key.seed for planned in run.plan.cells}),
        series=SERIES,
        spec_yaml=run.spec_yaml,
        plotly=_packed_plotly() if panels or predicted.plots else "",
    )


@cache
def _packed_plotly() -> str:
    """The plotting library as base64 of gzip, a third of its size; the page's script unpacks it."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 5, mtime=0)).decode()


@cache
def page_template(name: str) -> Template:
    """Return a template of this package's pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sslm_platform.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _facts(run: Run) -> list[str]:
    tasks = run.record.tasks.values()
    facts = [count(len(tasks), "task"), count(len({task.domain for task in tasks}), "domain")]
    if run.plan.cells:
        done = sum(run.cells[c.id].status == "done" for c in run.plan.cells if c.id in run.cells)
        facts.append(f"{done:,} of {count(len(run.plan.cells), 'cell')} measured")
    if run.record.seconds:
        facts.append(duration(run.record.seconds))
    if run.record.status != "done":
        facts.append(f"run {run.record.status}")
    return facts


def _view(family: Family) -> FamilyView:
    order = order_of(family)
    return FamilyView(
        family=family,
        explanation=explain(family.protocol),
        score=heat(family.scores, family.scores, order, family.floor),
        gains=tuple(heat(gain, family.scores, order, {}) for gain in family.gains),
        summary=_summary(family),
    )


def _summary(family: Family) -> list[dict[str, str]]:
    scale = scale_of(family.scores.all_cells)
    rows = []
    for row in summary(family):
        gain = row.gain.estimate if row.gain else None
        rows.append(
            {
                "relation": row.relation.value,
                "name": row.name,
                "cells": f"{row.score.count} of {row.score.planned}",
                "mean": scale.text(row.score.estimate.value),
                "interval": scale.interval(row.score.estimate) if row.score.estimate.low is not None else "",
                "gain": f"{scale.text(gain.value, signed=True)} {scale.interval(gain, signed=True)}"
                if gain
                else "",
            }
        )
    return rows


def _score_row(score: TaskScore) -> dict[str, Any]:
    value, floor = score.scores[score.metric], score.majority.get(score.metric)
    scale = scale_for([value.value, floor.value if floor else value.value], score.best)
    others = (
        f"{name.replace('_', ' ')} {other.value:.3g}"
        for name, other in score.scores.items()
        if name != score.metric
    )
    return {
        "task": score.task,
        "metric": score.metric.replace("_", " ") + scale.unit,
        "value": scale.text(value.value),
        "interval": f"[{scale.text(value.low)}, {scale.text(value.high)}]",
        "majority": scale.text(floor.value) if floor else "not measured",
        "others": ", ".join(others),
        "num_test": f"{score.num_test:,}",
    }
