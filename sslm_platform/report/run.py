"""All records of a run folder, read and validated once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from sslm_platform.errors import Problem, RunError, raise_all
from sslm_platform.report.curves import Curves, read_curves
from sslm_platform.report.estimates import Estimate
from sslm_platform.report.grouping import GroupPlan
from sslm_platform.report.predictions import Prediction, read_predictions
from sslm_platform.report.records import (
    SCHEMA_VERSION,
    CellRecord,
    RunRecord,
    TaskScore,
    TrainingRecord,
    TransferPlan,
    read_cells,
    read_record,
    read_trainings,
)


class _Scores(BaseModel):
    """``scores.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: int = SCHEMA_VERSION
    scores: tuple[TaskScore, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """What a report is made of.

    ``plan`` is empty where the run has no transfer section, ``groups`` is None where none were asked for.
    """

    record: RunRecord
    spec_yaml: str
    plan: TransferPlan
    cells: Mapping[str, CellRecord]
    trainings: Mapping[str, TrainingRecord]
    estimate: Estimate | None
    scores: tuple[TaskScore, ...]
    curves: Curves
    predictions: tuple[Prediction, ...] = ()
    groups: GroupPlan | None = None


def read_run(folder: Path) -> Run:
    """Read a run folder; parts that a run has not got to yet are empty.

    Raises:
        RunError: ``run.json`` is missing, or a record is damaged or of another version.
    """
    record = read_record(RunRecord, folder / "run.json")
    plan_path, scores_path = folder / "transfer" / "plan.json", folder / "scores.json"
    groups_path = folder / "groups.json"
    plan = (
        read_record(TransferPlan, plan_path)
        if plan_path.is_file()
        else TransferPlan(cells=(), tasks=record.tasks)
    )
    estimate_path = folder / "transfer" / "estimate.json"
    cells = read_cells(folder / "transfer")
    raise_all(RunError, [problem for cell in cells.values() for problem in _problems(cell)])
    return Run(
        record=record,
        spec_yaml=_spec_yaml(folder / "spec.yaml", record),
        plan=plan,
        cells=cells,
        trainings=read_trainings(folder / "transfer"),
        estimate=read_record(Estimate, estimate_path) if estimate_path.is_file() else None,
        scores=read_record(_Scores, scores_path).scores if scores_path.is_file() else (),
        curves=read_curves(folder / "train" / "metrics.jsonl"),
        predictions=tuple(read_predictions(folder / "transfer")),
        groups=read_record(GroupPlan, groups_path) if groups_path.is_file() else None,
    )


def _problems(cell: CellRecord) -> list[Problem]:
    if cell.status == "failed" or cell.metric in cell.scores:
        return []
    return [Problem(f"transfer/cells/{cell.id}/record.json", f"done, but without its metric {cell.metric!r}")]


def _spec_yaml(path: Path, record: RunRecord) -> str:
    if path.is_file():
        return path.read_text(encoding="utf-8")
    return yaml.safe_dump(record.spec, sort_keys=False, allow_unicode=True)
