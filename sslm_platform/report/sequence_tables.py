"""The figures of sequences as tables of text."""

from __future__ import annotations

from collections.abc import Sequence

from sslm_platform.report.numbers import Scale, scale_for, short_names
from sslm_platform.report.plain import PlainTable
from sslm_platform.report.sequences import SequenceScores
from sslm_platform.statistics import Estimate

MISSING = "missing"


def sequence_tables(found: Sequence[SequenceScores]) -> list[PlainTable]:
    """Return a table for each protocol, metric and number of stages: a row for each sequence."""
    groups: dict[tuple[str, str, int], list[SequenceScores]] = {}
    for scores in found:
        groups.setdefault((scores.protocol, scores.metric, len(scores.accuracy)), []).append(scores)
    return [_table(*key, group) for key, group in groups.items()]


def _table(protocol: str, metric: str, num_stages: int, group: Sequence[SequenceScores]) -> PlainTable:
    values = [e.value for scores in group for e in scores.accuracy if e is not None]
    scale = scale_for(values, group[0].best)
    what = metric.replace("_", " ") + scale.unit if metric else "share of the way from majority to perfect"
    names = short_names([scores.name for scores in group])
    header = [
        "sequence",
        *(f"average after {k}" for k in range(1, num_stages + 1)),
        *(f"forgetting after {k}" for k in range(2, num_stages + 1)),
        "backward",
        "forward",
    ]
    body = [
        (
            names[scores.name],
            *(_text(scale, estimate) for estimate in scores.accuracy),
            *(_text(scale, e, signed=True) for e in (*scores.forgetting, scores.backward, scores.forward)),
        )
        for scores in group
    ]
    return PlainTable(f"Sequences, {protocol}, {what}, 95 % interval", tuple(header), tuple(body))


def _text(scale: Scale, estimate: Estimate | None, *, signed: bool = False) -> str:
    if estimate is None:
        return MISSING
    return f"{scale.text(estimate.value, signed=signed)} {scale.interval(estimate, signed=signed)}"
