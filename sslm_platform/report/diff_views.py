"""A comparison of two runs on the terminal, as JSON, and as a page."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sslm_platform.report.diff import ABSENT, Diff, ScoreChange
from sslm_platform.report.heat import heat
from sslm_platform.report.numbers import Scale, p_text, scale_for
from sslm_platform.report.order import clustered
from sslm_platform.report.page import page_template
from sslm_platform.report.plain import PlainTable
from sslm_platform.report.slices import matrix_json
from sslm_platform.statistics import FALSE_DISCOVERY_RATE

if TYPE_CHECKING:
    from rich.console import Console

MEANING = (
    "Positive is better in the second run. Intervals are over test examples, paired where both runs have the "
    "same, and over seeds where there are enough; q is adjusted for all differences of a table "
    "(Benjamini-Hochberg)."
)


def print_diff(diff: Diff, console: Console) -> None:
    """Print a comparison as terminal tables."""
    from rich.text import Text

    from sslm_platform.report.console import print_matrix, print_plain

    for table in tables(diff):
        print_plain(table, console)
    for task, matrix in diff.matrices:
        print_matrix(matrix, console, f"{task}: ")
    for line in (*diff.only, MEANING):
        console.print(Text(line, style="dim"))


def tables(diff: Diff) -> list[PlainTable]:
    """Return the specs' and the scores' differences as tables of text; nothing where nothing differs."""
    first, second = diff.names
    found = []
    if diff.spec:
        rows = tuple((change.key, _shown(change.first), _shown(change.second)) for change in diff.spec)
        found.append(PlainTable("Specs", ("key", first, second), rows))
    if diff.scores:
        header = ("task", "metric", first, second, "better by", "q", "examples")
        found.append(PlainTable("Joint models on test", header, tuple(map(_score_row, diff.scores))))
    return found


def _shown(value: Any) -> str:
    return value if value == ABSENT else json.dumps(value, ensure_ascii=False)


def _score_row(change: ScoreChange) -> tuple[str, ...]:
    scale: Scale = scale_for([change.first, change.second], change.best)
    better = scale.text(change.better.value, signed=True)
    if change.inference is not None:
        star = "*" if change.q is not None and change.q <= FALSE_DISCOVERY_RATE else ""
        better += f"{star} {scale.interval(change.better, signed=True)}"
    return (
        change.task,
        change.metric.replace("_", " ") + scale.unit,
        scale.text(change.first),
        scale.text(change.second),
        better,
        p_text(change.q) if change.q is not None else "",
        "the same" if change.paired else "others",
    )


def diff_json(diff: Diff) -> dict[str, Any]:
    """Return a comparison as JSON content."""
    scores = [
        {
            "task": change.task,
            "metric": change.metric,
            "first": change.first,
            "second": change.second,
            "better": asdict(change.better),
            "p": change.inference.p if change.inference else None,
            "q": change.q,
            "paired": change.paired,
        }
        for change in diff.scores
    ]
    return {
        "names": diff.names,
        "spec": [asdict(change) for change in diff.spec],
        "scores": scores,
        "matrices": [{"task": task} | matrix_json(matrix) for task, matrix in diff.matrices],
        "only": diff.only,
    }


def diff_page(diff: Diff) -> str:
    """Return a comparison as one HTML page that needs no network."""
    heats = [
        (f"{task}, {matrix.protocol}", heat(matrix, matrix, clustered(matrix), {}))
        for task, matrix in diff.matrices
    ]
    return page_template("diff.html.j2").render(
        names=diff.names, tables=tables(diff), heats=heats, only=diff.only, meaning=MEANING
    )
