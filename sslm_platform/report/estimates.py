"""What work was expected to cost before it began, as validated JSON; and what came true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field

from sslm_platform.report.numbers import duration
from sslm_platform.report.records import SCHEMA_VERSION, CellRecord, TrainingRecord


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rates(_Record):
    """How fast a machine is with one encoder."""

    version: int = SCHEMA_VERSION
    origin: str = Field(description="where the figures are from: a calibration, or earlier runs")
    train_tokens_per_second: dict[str, float] = Field(description="by kind of training: its objectives")
    encode_tokens_per_second: float
    seconds_per_fit: float = Field(description="of a probe")
    seconds_per_cell: float = Field(description="of scores and intervals")
    seconds_per_unit: float = Field(description="of loading a model")
    model_bytes: int = Field(description="of a saved model")


class UnitCost(_Record):
    """What one unit of work takes: a source training and its cells, or cells alone."""

    id: str
    name: str
    cells: tuple[str, ...] = Field(default=(), description="ids of the cells that are open")
    training: str = Field(default="", description="id of the training, where it is still to be done")
    train_steps: int = Field(default=0, description="optimizer steps, those of fine-tuned cells included")
    train_tokens: dict[str, int] = Field(default_factory=dict, description="real tokens, by kind of training")
    encode_tokens: int = Field(default=0, description="real tokens that are encoded without training")
    num_fits: int = Field(default=0, description="probes")
    num_bytes: int = Field(default=0, description="of models and records")

    def seconds(self, rates: Rates) -> float:
        """Return the expected time."""
        known = rates.train_tokens_per_second
        usual = sum(known.values()) / len(known) if known else float("inf")
        training = sum(tokens / known.get(kind, usual) for kind, tokens in self.train_tokens.items())
        encoding = self.encode_tokens / rates.encode_tokens_per_second
        fits = self.num_fits * rates.seconds_per_fit
        return training + encoding + fits + len(self.cells) * rates.seconds_per_cell + rates.seconds_per_unit


class Estimate(_Record):
    """The open units of a plan, with the rates that turn them into time."""

    version: int = SCHEMA_VERSION
    units: tuple[UnitCost, ...]
    rates: Rates

    @property
    def seconds(self) -> float:
        """Expected time of one worker."""
        return sum(unit.seconds(self.rates) for unit in self.units)

    @property
    def train_tokens(self) -> int:
        """Tokens that are trained on."""
        return sum(sum(unit.train_tokens.values()) for unit in self.units)

    @property
    def encode_tokens(self) -> int:
        """Tokens that are encoded without training."""
        return sum(unit.encode_tokens for unit in self.units)

    @property
    def num_bytes(self) -> int:
        """Bytes on disk."""
        return sum(unit.num_bytes for unit in self.units)


class Outcome(_Record):
    """An estimate beside what its units took."""

    num_units: int
    expected_seconds: float
    seconds: float
    expected_tokens: int
    num_tokens: int

    @property
    def ratio(self) -> float:
        """Time taken / time expected."""
        return self.seconds / self.expected_seconds


def outcome(
    estimate: Estimate, cells: Mapping[str, CellRecord], trainings: Mapping[str, TrainingRecord]
) -> Outcome | None:
    """Compare an estimate with the units that are finished; None where none is that takes time.

    Loading models is in neither side: no record has it.
    """
    done = [unit for unit in estimate.units if _is_done(unit, cells, trainings)]
    if not done:
        return None
    expected = sum(unit.seconds(estimate.rates) - estimate.rates.seconds_per_unit for unit in done)
    if expected <= 0:
        return None
    taken = list(_records(done, cells, trainings))
    return Outcome(
        num_units=len(done),
        expected_seconds=expected,
        seconds=sum(record.seconds for record in taken),
        expected_tokens=sum(unit.encode_tokens + sum(unit.train_tokens.values()) for unit in done),
        num_tokens=sum(record.num_tokens for record in taken),
    )


def _is_done(
    unit: UnitCost, cells: Mapping[str, CellRecord], trainings: Mapping[str, TrainingRecord]
) -> bool:
    measured = all(cell in cells and cells[cell].status == "done" for cell in unit.cells)
    return measured and (not unit.training or unit.training in trainings)


def _records(
    units: Iterable[UnitCost], cells: Mapping[str, CellRecord], trainings: Mapping[str, TrainingRecord]
) -> Iterable[CellRecord | TrainingRecord]:
    for unit in units:
        yield from (cells[cell] for cell in unit.cells)
        if unit.training:
            yield trainings[unit.training]


def in_words(estimate: Estimate) -> str:
    """Return one line: time, trainings, tokens, disk."""
    trainings = sum(bool(unit.training) for unit in estimate.units)
    return (
        f"about {duration(estimate.seconds)} for one worker: {trainings} trainings of"
        f" {estimate.train_tokens:,} tokens, {estimate.encode_tokens:,} tokens to encode;"
        f" {size(estimate.num_bytes)} on disk (rates: {estimate.rates.origin})"
    )


def size(num_bytes: float) -> str:
    """Return bytes as people read them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"
