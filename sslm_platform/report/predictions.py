"""Records of predicted transfer, and the matrices that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sslm_platform.report.records import SCHEMA_VERSION, read_record

Pair = tuple[str, str]
"""Display name of a source, identity of a target."""


class Prediction(BaseModel):
    """What one estimator says of one source and one target."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: int = SCHEMA_VERSION
    id: str = Field(description="content hash of what the value depends on")
    estimator: str
    signed: bool = Field(description="0 means no effect, below 0 harm, in one unit for all targets")
    source: str = Field(description="display name")
    source_tasks: tuple[str, ...]
    target: str
    seed: int
    status: Literal["done", "undefined", "failed"]
    value: float | None = Field(default=None, description="higher where the source should help more")
    reason: str = Field(default="", description="why there is no value")
    seconds: float = Field(default=0.0, description="the formula's own, without its evidence")
    evidence: dict[str, float] = Field(
        default_factory=dict, description="seconds of each piece of evidence; predictions share pieces"
    )
    training: str = Field(default="", description="id of the source training whose model it reads")
    environment: dict[str, str] = Field(default_factory=dict)

    @property
    def pair(self) -> Pair:
        """Source and target."""
        return self.source, self.target


@dataclass(frozen=True, slots=True)
class PredictedMatrix:
    """One estimator's values; a pair without one has a reason."""

    estimator: str
    signed: bool
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    values: Mapping[Pair, float]
    reasons: Mapping[Pair, str]


def predictions_folder(transfer: Path) -> Path:
    """Return where a run's ``transfer`` folder keeps its predictions."""
    return transfer / "predictions"


class PredictionPlan(BaseModel):
    """Ids of all predictions of a run's spec as it is now; records of an earlier one may be there too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = SCHEMA_VERSION
    ids: tuple[str, ...]


def prediction_path(transfer: Path, name: str) -> Path:
    """Return where a prediction's record is."""
    return predictions_folder(transfer) / f"{name}.json"


def plan_path(transfer: Path) -> Path:
    """Return where the ids of a run's predictions are."""
    return transfer / "predictions.json"


def read_predictions(transfer: Path) -> list[Prediction]:
    """Read the planned predictions that have a record, from a run's ``transfer`` folder.

    Raises:
        RunError: a record is damaged.
    """
    if not plan_path(transfer).exists():
        return []
    paths = [prediction_path(transfer, name) for name in read_record(PredictionPlan, plan_path(transfer)).ids]
    return [read_record(Prediction, path) for path in paths if path.exists()]


def predicted_matrices(predictions: Iterable[Prediction]) -> dict[str, PredictedMatrix]:
    """Arrange predictions by estimator, sources and targets in alphabetical order."""
    by_estimator: dict[str, list[Prediction]] = {}
    for prediction in sorted(predictions, key=lambda p: (p.estimator, p.source, p.target)):
        by_estimator.setdefault(prediction.estimator, []).append(prediction)
    return {name: _matrix(name, found) for name, found in by_estimator.items()}


def _matrix(name: str, found: list[Prediction]) -> PredictedMatrix:
    return PredictedMatrix(
        name,
        any(p.signed for p in found),
        tuple(dict.fromkeys(p.source for p in found)),
        tuple(sorted({p.target for p in found})),
        {p.pair: p.value for p in found if p.value is not None},
        {p.pair: p.reason for p in found if p.value is None},
    )


@dataclass(frozen=True, slots=True)
class PredictionCost:
    """What an estimator's predictions took.

    Attributes:
        own: seconds of its formula.
        evidence: seconds of what it read; other estimators may have read the same.
        trainings: source trainings that it needs, which are not in these seconds.
    """

    own: float
    evidence: float
    trainings: int


def prediction_cost(predictions: Iterable[Prediction]) -> PredictionCost:
    """Add up seconds, each piece of evidence once."""
    predictions = list(predictions)
    pieces: dict[str, float] = {}
    for prediction in predictions:
        pieces |= prediction.evidence
    trainings = {p.training for p in predictions if p.training}
    return PredictionCost(sum(p.seconds for p in predictions), sum(pieces.values()), len(trainings))
