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

SourceStage = Literal["none", "head", "full", "majority", "tfidf"]
TargetStage = Literal["zero_shot", "probe", "finetune"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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

    ``source_stage`` is ``majority`` or ``tfidf`` for the baselines that have no encoder.
    """

    source_stage: SourceStage
    target_stage: TargetStage
    source: str = Field(description="display name of the source; empty where there is none")
    source_tasks: tuple[str, ...] = ()
    target: str
    seed: int

    @property
    def protocol(self) -> str:
        """``full/zero_shot`` and the like."""
        return f"{self.source_stage}/{self.target_stage}"


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

    ``baselines`` maps a baseline's name (``pretrained``, ``majority``, ``tfidf``, ``head``) to the baseline
    cell's id. ``pretrained`` is the gain's baseline where it exists (probe and finetune).
    """

    id: str
    key: CellKey
    baselines: dict[str, str] = Field(default_factory=dict)
    is_baseline: bool = False


class TransferPlan(_Record):
    """All cells of a run, baselines included; pure function of spec and data."""

    version: int = SCHEMA_VERSION
    cells: tuple[PlannedCell, ...]
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
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("version", SCHEMA_VERSION) != SCHEMA_VERSION:
            raise RunError(
                Problem(str(path), f"version {content['version']}; this program reads {SCHEMA_VERSION}")
            )
        return kind.model_validate(content)
    except FileNotFoundError:
        raise RunError(Problem(str(path), "not found")) from None
    except (json.JSONDecodeError, AttributeError, ValidationError) as error:
        raise RunError(Problem(str(path), f"not a valid {kind.__name__}: {error}")) from None


def write_record(record: BaseModel, path: Path) -> None:
    """Write a record atomically."""
    write_text(path, record.model_dump_json(indent=1) + "\n")


def read_cells(directory: Path) -> Mapping[str, CellRecord]:
    """Read every ``cells/<id>/record.json`` below a run's ``transfer`` folder."""
    paths = sorted(directory.glob("cells/*/record.json"))
    return {record.id: record for record in (read_record(CellRecord, path) for path in paths)}
