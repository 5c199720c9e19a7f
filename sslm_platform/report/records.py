"""The facts of a run, as validated JSON. A report is a pure function of these."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sslm_platform.errors import Problem, RunError
from sslm_platform.files import write_text

R = TypeVar("R", bound=BaseModel)

SCHEMA_VERSION = 1

SourceStage = Literal[
    "none", "head", "full", "pairwise", "leave_one_out", "sequential", "majority", "tfidf", "copy", "lead"
]
TargetStage = Literal["zero_shot", "probe", "finetune", "few_shot"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class TaskInfo(_Record):
    """What a matrix axis may be made of."""

    identity: str = Field(description="name@domain")
    name: str
    domain: str
    stream: str
    tags: dict[str, str] = Field(default_factory=dict, description="language and the like")
    num_train: int
    num_dev: int
    num_test: int
    num_available: int = Field(description="examples in all splits before any limit")


class CellKey(_Record):
    """One (protocol, source, target, seed). ``baseline`` cells use the same key with their own stage.

    ``source_stage`` is ``majority``, ``tfidf``, ``copy`` or ``lead`` for the baselines that have no encoder.
    """

    source_stage: SourceStage
    target_stage: TargetStage
    source: str = Field(description="display name of the source; empty where there is none")
    source_tasks: tuple[str, ...] = Field(default=(), description="every task that was trained on")
    row: tuple[tuple[str, ...], ...] = Field(
        default=(),
        description="tasks that the row stands for, where they are not `source_tasks`: the partner of"
        " `pairwise`, what `leave_one_out` leaves out, the stages of `sequential`",
    )
    target: str
    seed: int
    shots: int | None = Field(default=None, description="`few_shot`: training examples for each label")
    draw: int = Field(default=0, description="`few_shot`: which draw of them; varies like a seed")
    learner: Literal["probe", "finetune"] | None = Field(default=None, description="`few_shot`: its `by`")

    @property
    def protocol(self) -> str:
        """``full/zero_shot``, ``full/few_shot-8``, ``full/few_shot-8-finetune`` and the like."""
        parts = [self.target_stage, self.shots, self.learner if self.learner == "finetune" else None]
        return f"{self.source_stage}/{'-'.join(str(part) for part in parts if part is not None)}"

    @property
    def row_stages(self) -> tuple[tuple[str, ...], ...]:
        """The tasks that a row's label is made of, by stage; one stage but for ``sequential``."""
        return self.row or (self.source_tasks,)


class MetricValue(_Record):
    """A metric with its 95 % percentile-bootstrap interval over test examples."""

    value: float
    low: float
    high: float


class CellRecord(_Record):
    """What one cell measured, or why it failed."""

    version: int = SCHEMA_VERSION
    id: str = Field(description="content hash of what the cell uses")
    key: CellKey
    status: Literal["done", "failed"]
    error: str = ""
    metric: str = Field(description="the target task's primary metric")
    higher_is_better: bool = True
    best: float = 1.0
    scores: dict[str, MetricValue] = Field(default_factory=dict, description="test scores by metric")
    resamples: tuple[float, ...] = Field(
        default=(),
        description="primary metric of each bootstrap resample; cells of one target share resamples, "
        "so differences of two cells' entries are paired",
    )
    num_train: int = 0
    num_test: int = 0
    seconds: float = 0.0
    num_tokens: int = 0
    notes: dict[str, Any] = Field(default_factory=dict, description="chosen l2, steps and the like")
    environment: dict[str, str] = Field(default_factory=dict)


class PlannedCell(_Record):
    """A cell that the spec asks for and, in order of preference, the cells that it is compared with.

    ``baselines`` maps a baseline's name (``pretrained``, ``majority``, ``copy``, …) to the baseline
    cell's id. ``pretrained`` is the gain's baseline where it exists (probe and finetune). A cell with
    ``undefined`` has no value by its nature, and is not measured.
    """

    id: str
    key: CellKey
    baselines: dict[str, str] = Field(default_factory=dict)
    is_baseline: bool = False
    training: str = Field(default="", description="id of the source training that it uses")
    undefined: str = Field(default="", description="why the cell can have no value; empty where it can")


class TrainingRecord(_Record):
    """What one source training cost; many cells share it."""

    version: int = SCHEMA_VERSION
    id: str
    source: str = Field(description="display name of the source, as far as this training goes")
    tasks: tuple[str, ...] = Field(description="tasks of this training; of a sequence, of its last stage")
    start: str = Field(default="", description="id of the training whose weights it began with")
    seed: int
    num_steps: int
    num_tokens: int = Field(description="real tokens that were trained on")
    num_padded_tokens: int = Field(description="tokens that were computed, padding included")
    slots: dict[str, int] = Field(default_factory=dict, description="batches of each feed")
    intended: dict[str, float] = Field(
        default_factory=dict, description="share of the batches that the sampler meant each feed to have"
    )
    seconds: float


class TransferPlan(_Record):
    """All cells of a run, baselines included; pure function of spec and data."""

    version: int = SCHEMA_VERSION
    cells: tuple[PlannedCell, ...]
    trainings: tuple[str, ...] = Field(
        default=(), description="ids of the source trainings; the run's own joint training is none"
    )
    tasks: dict[str, TaskInfo]


class TaskScore(_Record):
    """The joint model on one task's test split, beside the constant predictor."""

    task: str
    metric: str
    higher_is_better: bool
    best: float
    scores: dict[str, MetricValue]
    majority: dict[str, MetricValue]
    num_test: int
    details: dict[str, dict[str, dict[str, float]]] = Field(
        default={}, description="what a metric says of each class, by metric and class"
    )
    resamples: tuple[float, ...] = Field(
        default=(),
        description="primary metric of each bootstrap resample; runs on one test split share resamples",
    )


class RunRecord(_Record):
    """Facts of the run as a whole (``run.json``)."""

    version: int = SCHEMA_VERSION
    name: str
    spec: dict[str, Any]
    status: Literal["running", "done", "failed"] = "running"
    started: str
    seconds: float = 0.0
    seed: int
    versions: dict[str, str]
    machine: dict[str, str]
    fingerprints: dict[str, str] = Field(description="stream name to SHA-256 of its rows")
    tasks: dict[str, TaskInfo]
    notes: tuple[str, ...] = Field(default=(), description="what a reader must know: subsampling, one seed")


def read_record(kind: type[R], path: Path) -> R:
    """Read and validate one record; a damaged or foreign file is a :class:`RunError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(Problem(str(path), "not found")) from None
    try:
        record = kind.model_validate_json(text)
    except ValidationError as error:
        _check_version(_version_in(text), path)  # what another version has may well be invalid here
        raise RunError(Problem(str(path), f"not a valid {kind.__name__}: {error}")) from None
    _check_version(getattr(record, "version", SCHEMA_VERSION), path)
    return record


def _version_in(text: str) -> Any:
    try:
        return json.loads(text).get("version", SCHEMA_VERSION)
    except (json.JSONDecodeError, AttributeError):
        return SCHEMA_VERSION


def _check_version(version: Any, path: Path) -> None:
    if version != SCHEMA_VERSION:
        raise RunError(Problem(str(path), f"version {version}; this program reads {SCHEMA_VERSION}"))


def write_record(record: BaseModel, path: Path) -> None:
    """Write a record atomically."""
    write_text(path, record.model_dump_json(indent=1) + "\n")


def read_cells(directory: Path) -> Mapping[str, CellRecord]:
    """Read every ``cells/<id>/record.json`` below a run's ``transfer`` folder."""
    paths = sorted(directory.glob("cells/*/record.json"))
    return {record.id: record for record in (read_record(CellRecord, path) for path in paths)}


def read_trainings(directory: Path) -> Mapping[str, TrainingRecord]:
    """Read every ``trainings/<id>/record.json`` below a run's ``transfer`` folder."""
    paths = sorted(directory.glob("trainings/*/record.json"))
    return {record.id: record for record in (read_record(TrainingRecord, path) for path in paths)}
