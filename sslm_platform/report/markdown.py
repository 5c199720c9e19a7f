"""The report as one Markdown file, for a README, an issue or a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from sslm_platform.report.findings import caveats, find
from sslm_platform.report.lead import lead
from sslm_platform.report.numbers import scale_for, scale_of
from sslm_platform.report.run import Run
from sslm_platform.report.sequence_tables import sequence_tables
from sslm_platform.report.sequences import sequence_scores
from sslm_platform.report.tables import markdown_table, matrix_markdown
from sslm_platform.report.views import Family, summary


def report_markdown(run: Run, shown: Sequence[Family]) -> str:
    """Findings, matrices (scores, and gains over the first baseline), means and joint scores."""
    parts = [f"# {run.record.name}\n", "## What helps what\n"]
    if said := lead(shown):
        parts.append(f"{said}\n")
    for finding in find(shown):
        lines = [f"- helps: {line}" for line in finding.gains] + [
            f"- harms: {line}" for line in finding.harms
        ]
        parts.append("\n".join([f"**{finding.title}.** {finding.text}\n", *lines]) + "\n")
    if not shown:
        parts.append("This run has no transfer section.\n")
    parts.append("".join(f"- {note}\n" for note in caveats(shown, run.record.notes, joint=bool(run.scores))))
    if shown:
        parts.append("## Matrices\n")
    for family in shown:
        parts.append(f"### {family.task}, {family.protocol}\n")
        parts += [matrix_markdown(matrix) for matrix in (family.scores, *family.gains[:1])]
        parts.append(_means(family))
    for table in sequence_tables(sequence_scores(run.plan, run.cells)):
        parts += [f"### {table.title}\n", markdown_table(table.header, table.body)]
    if run.scores:
        parts += ["## Joint model on test\n", _joint(run)]
    return "\n".join(part for part in parts if part)


def _means(family: Family) -> str:
    scale = scale_of(family.scores.all_cells)
    body = []
    for row in summary(family):
        gain = row.gain.estimate if row.gain else None
        body.append(
            [
                f"{row.relation.value}: {row.name}",
                f"{row.score.count} of {row.score.planned}",
                scale.text(row.score.estimate.value),
                f"{scale.text(gain.value, signed=True)} {scale.interval(gain, signed=True)}" if gain else "",
            ]
        )
    return markdown_table(["means", "cells", "score", "gain over it"], body) if body else ""


def _joint(run: Run) -> str:
    body = []
    for score in run.scores:
        value, floor = score.scores[score.metric], score.majority.get(score.metric)
        scale = scale_for([value.value, floor.value if floor else value.value], score.best)
        interval = f"[{scale.text(value.low)}, {scale.text(value.high)}]"
        majority = scale.text(floor.value) if floor else "not measured"
        metric = score.metric.replace("_", " ") + scale.unit
        body.append(
            [score.task, metric, f"{scale.text(value.value)} {interval}", majority, f"{score.num_test:,}"]
        )
    return markdown_table(["task", "metric", "score", "majority", "test examples"], body)
