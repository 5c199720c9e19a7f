"""A matrix and its places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from sslm_platform.statistics import FALSE_DISCOVERY_RATE, Estimate, Inference, Sample

Value = Literal["score", "gain", "normalised", "gap"]


class State(StrEnum):
    """Why a place of a matrix has a value, or has none; the text is what a reader sees."""

    OK = "ok"
    MISSING = "missing"
    FAILED = "failed"
    NO_BASELINE = "no baseline"
    UNDEFINED = "undefined"
    NOT_PLANNED = "not planned"


class Relation(StrEnum):
    """What the source was trained on, seen from the target."""

    SAME = "in-domain"
    INCLUDES = "target among sources"
    APART = "transfer"


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of a matrix.

    ``num_pairs`` (source, target) pairs were averaged; ``left_out`` counts planned cells that could not be,
    by their state. ``num_train`` is the range of training examples behind the heads that answered, the
    sources' with ``zero_shot`` and else the targets', ``num_test`` the sum over targets.
    ``score`` is the mean score, also where ``estimate`` is a gain, and None where metrics differ;
    ``baselines`` gives the mean score of each baseline that exists, in the plan's order. ``relative`` marks
    values that are shares, whatever the metric.
    ``inference`` and what follows from it exist where the value is a difference and there are resamples:
    ``q`` is p adjusted for all cells of the matrix, ``detectable`` the true difference that would be a
    discovery in a cell of its column with a power of 80 %.
    """

    state: State
    estimate: Estimate | None = None
    score: float | None = None
    metric: str = ""
    higher_is_better: bool = True
    best: float = 1.0
    relative: bool = False
    baselines: Mapping[str, float] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    num_pairs: int = 0
    left_out: Mapping[State, int] = field(default_factory=dict)
    num_train: tuple[int, int] = (0, 0)
    num_test: int = 0
    relation: Relation = Relation.APART
    error: str = ""
    sample: Sample | None = field(default=None, compare=False, repr=False)
    inference: Inference | None = None
    q: float | None = None
    detectable: float | None = None

    @property
    def p(self) -> float | None:
        """The p-value of the difference by itself."""
        return self.inference.p if self.inference else None

    @property
    def discovery(self) -> bool:
        """Whether the difference is significant among all cells of its matrix."""
        return self.q is not None and self.q <= FALSE_DISCOVERY_RATE

    @property
    def helps(self) -> bool:
        """Whether the difference is a discovery, and good."""
        return self.discovery and self.estimate is not None and self.estimate.value > 0

    @property
    def harms(self) -> bool:
        """Whether the difference is a discovery, and bad: negative transfer."""
        return self.discovery and self.estimate is not None and self.estimate.value < 0


@dataclass(frozen=True, slots=True)
class Matrix:
    """Values of one protocol; ``cells[row, col]`` exists for every row and column."""

    protocol: str
    value: Value
    baseline: str
    rows: tuple[str, ...]
    cols: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]

    @property
    def all_cells(self) -> tuple[Cell, ...]:
        """Every place, row by row."""
        return tuple(self.cells[row, col] for row in self.rows for col in self.cols)

    @property
    def is_difference(self) -> bool:
        """Whether 0 means "no effect": all but scores."""
        return self.value != "score"

    @property
    def detectable(self) -> tuple[float, float] | None:
        """The least and the largest effect that its columns could have detected; None without tests."""
        found = [cell.detectable for cell in self.all_cells if cell.detectable is not None]
        return (min(found), max(found)) if found else None
