"""What a run cost: time and tokens of joint training and of each protocol's cells."""

from __future__ import annotations

from dataclasses import dataclass

from sslm_platform.report.numbers import duration
from sslm_platform.report.run import Run


@dataclass(frozen=True, slots=True)
class CostRow:
    """One line of the cost table, as text."""

    what: str
    cells: str
    time: str
    tokens: str


def cost_rows(run: Run) -> list[CostRow]:
    """Joint training first, then protocols in the order of the plan, then the whole run."""
    rows = []
    if run.curves.steps:
        tokens, padded = run.curves.num_tokens, run.curves.num_padded_tokens
        real = f" ({tokens / padded:.0%} of the padded)" if padded else ""
        rows.append(CostRow("joint training", "", duration(run.curves.seconds), f"{tokens:,}{real}"))
    for protocol in dict.fromkeys(planned.key.protocol for planned in run.plan.cells):
        planned = [cell.id for cell in run.plan.cells if cell.key.protocol == protocol]
        done = [run.cells[id_] for id_ in planned if id_ in run.cells]
        seconds, tokens = sum(cell.seconds for cell in done), sum(cell.num_tokens for cell in done)
        rows.append(CostRow(protocol, f"{len(done)} of {len(planned)}", duration(seconds), f"{tokens:,}"))
    if run.record.seconds:
        rows.append(CostRow("whole run", "", duration(run.record.seconds), ""))
    return rows
