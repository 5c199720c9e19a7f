"""The HTML report: what the template shows, computed; one file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sslm_platform.report.charts import training_panels
from sslm_platform.report.colors import GAIN, HARM, SCORE
from sslm_platform.report.cost import cost_rows
from sslm_platform.report.findings import caveats, find
from sslm_platform.report.heat import Heat, heat
from sslm_platform.report.numbers import count, duration, scale_for, scale_of
from sslm_platform.report.protocols import BASELINE_MEANING, explain
from sslm_platform.report.records import TaskScore
from sslm_platform.report.run import Run
from sslm_platform.report.tables import cell_rows
from sslm_platform.report.views import Family, families, summary

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


def render_page(run: Run) -> str:
    """Return the whole page. The same records give the same text."""
    from plotly.offline import get_plotlyjs

    shown = families(run.plan, run.cells)
    panels = training_panels(run.curves)
    return _template("report.html.j2").render(
        run=run.record,
        facts=_facts(run),
        findings=find(shown),
        families=[_view(family) for family in shown],
        baselines=BASELINE_MEANING,
        scores=[_score_row(score) for score in run.scores],
        has_others=any(len(score.scores) > 1 for score in run.scores),
        cells=_shown_rows(run),
        panels=panels,
        cost=cost_rows(run),
        caveats=caveats(shown, run.record.notes, joint=bool(run.scores)),
        spec_yaml=run.spec_yaml,
        plotly=get_plotlyjs() if panels else "",
        hues={"gain": GAIN, "harm": HARM, "score": SCORE},
    )


@cache
def _template(name: str) -> Template:
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
    return FamilyView(
        family=family,
        explanation=explain(family.protocol),
        score=heat(family.scores, family),
        gains=tuple(heat(gain, family) for gain in family.gains),
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


def _shown_rows(run: Run) -> list[dict[str, Any]]:
    return [_shown_row(row, run) for row in cell_rows(run.plan, run.cells)]


def _shown_row(row: dict[str, Any], run: Run) -> dict[str, Any]:
    if row["value"] is None:
        return row | {"shown": row["state"], "interval": "", "unit": ""}
    scale = scale_for([row["value"]], run.cells[row["id"]].best)
    interval = f"[{scale.text(row['low'])}, {scale.text(row['high'])}]"
    return row | {"shown": scale.text(row["value"]), "interval": interval, "unit": scale.unit}
