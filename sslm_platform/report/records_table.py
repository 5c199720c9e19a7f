"""Every planned cell as the page's script reads it, in short rows: thousands of cells stay a small page."""

from __future__ import annotations

from typing import Any

from sslm_platform.report.numbers import scale_for
from sslm_platform.report.records import PlannedCell
from sslm_platform.report.run import Run
from sslm_platform.report.tables import cell_rows

COLUMNS = (
    "protocol",
    "source",
    "target",
    "seed",
    "metric",
    "value",
    "low",
    "shown",
    "interval",
    "num_train",
    "num_test",
    "seconds",
    "num_tokens",
    "error",
    "id",
    "training",
    "baselines",
)


def records_table(run: Run) -> dict[str, Any]:
    """Return the names of the columns and a list for each cell; ``baselines`` are names and row numbers."""
    numbers = {planned.id: number for number, planned in enumerate(run.plan.cells)}
    rows = [
        _row(planned, row, run, numbers)
        for planned, row in zip(run.plan.cells, cell_rows(run.plan, run.cells), strict=True)
    ]
    return {"columns": COLUMNS, "rows": [[row[name] for name in COLUMNS] for row in rows]}


def _row(planned: PlannedCell, row: dict[str, Any], run: Run, numbers: dict[str, int]) -> dict[str, Any]:
    shown, interval, unit = row["state"], "", ""
    if row["value"] is not None:
        scale = scale_for([row["value"]], run.cells[planned.id].best)
        shown, unit = scale.text(row["value"]), scale.unit
        interval = f"[{scale.text(row['low'])}, {scale.text(row['high'])}]"
    trained = planned.training if planned.training in run.trainings else ""
    baselines = [[name, numbers[id_]] for name, id_ in planned.baselines.items() if id_ in numbers]
    return row | {
        "metric": (row["metric"] or "").replace("_", " ") + unit,
        "value": _short(row["value"]),
        "low": _short(row["low"]),
        "seconds": _short(row["seconds"]),
        "shown": shown,
        "interval": interval,
        "error": row["error"] or "",
        "id": planned.id if planned.id in run.cells else "",
        "training": trained,
        "baselines": baselines,
    }


def _short(number: float | None) -> float | None:
    """Six digits are enough to sort by."""
    return None if number is None else float(f"{number:.6g}")
