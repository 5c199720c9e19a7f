"""Units of work: what one worker does at a stretch, and where it begins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sslm_platform.errors import SslmError
from sslm_platform.transfer.plan import CellPlan, Plan, TrainingPlan

WITHOUT_ENCODER = ("majority", "tfidf", "copy", "lead")  # stages of the baselines that have none
PRETRAINED = "pretrained"  # begins the ids of units whose cells only read the spec's encoder


@dataclass(frozen=True, slots=True)
class Unit:
    """A source training and the cells that use it, or cells without one.

    Attributes:
        start: id of the unit whose training this one begins with; empty without.
    """

    id: str
    training: TrainingPlan | None
    cells: tuple[CellPlan, ...]
    start: str = ""

    @property
    def name(self) -> str:
        """Return what messages call it."""
        if self.training is not None:
            return self.training.source.name
        if is_finetuned(self.cells[0]):
            return f"{PRETRAINED} → {self.cells[0].key.target}"
        return self.id

    @property
    def initial_seed(self) -> int:
        """Seed of the encoder's first weights, where the unit has no training."""
        return self.cells[0].initial_seed


def units_of(plan: Plan) -> tuple[Unit, ...]:
    """Return the plan's work in an order in which each training comes after the one that it begins with.

    Cells that read the pretrained encoder are one unit, so that it encodes each example once; with random
    weights, those of each seed. Cells that train it further are one each. Cells that are undefined are none.
    """
    cells: dict[str, list[CellPlan]] = {PRETRAINED: []}
    for cell in plan.cells.values():
        if cell.undefined:
            continue
        own = cell.id if is_finetuned(cell) else _pretrained(cell)
        key = cell.training.id if cell.training is not None else own
        cells.setdefault(key, []).append(cell)
    trainings = plan.trainings
    frozen = [Unit(key, None, tuple(found)) for key, found in cells.items() if key not in trainings and found]
    trained = [
        Unit(key, training, tuple(cells.get(key, ())), training.start.id if training.start else "")
        for key, training in trainings.items()
    ]
    return (*frozen, *trained)


def _pretrained(cell: CellPlan) -> str:
    return f"{PRETRAINED}-{cell.initial_seed}" if cell.initial_seed else PRETRAINED


def is_finetuned(cell: CellPlan) -> bool:
    """Whether measuring a cell trains an encoder further; a baseline without one has the budget, no more."""
    return cell.finetune is not None and cell.key.source_stage not in WITHOUT_ENCODER


@dataclass(frozen=True, slots=True)
class Shard:
    """The ``index``-th of ``count`` workers, from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def order(self, units: Sequence[Unit]) -> list[Unit]:
        """Return all units, this worker's share first: every ``count``-th one; then the next worker's."""
        firsts = ((self.index - 1 + step) % self.count for step in range(self.count))
        return [unit for first in firsts for unit in units[first :: self.count]]


def parse_shard(text: str) -> Shard:
    """Read ``i/n``.

    Raises:
        SslmError: it is something else, or i is not from 1 to n.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise SslmError(f"--shard {text}: expected i/n with i from 1 to n, say 2/4")
    return Shard(int(match[1]), int(match[2]))
