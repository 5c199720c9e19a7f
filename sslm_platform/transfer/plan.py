"""What is planned: cells, and the trainings that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sslm_platform.corpus import Corpus
from sslm_platform.report.records import CellKey, PlannedCell, TransferPlan
from sslm_platform.spec.resolved import Task
from sslm_platform.transfer.sources import Source


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a training is: steps, or passes over its data."""

    max_steps: int | None
    epochs: float | None

    def content(self) -> dict[str, Any]:
        """Return what identifies the budget."""
        return {"max_steps": self.max_steps, "epochs": self.epochs}

    def shared(self, share: float) -> Budget:
        """Return the budget with ``share`` times the steps; passes over the data stay what they are."""
        return (
            self if self.max_steps is None else replace(self, max_steps=max(1, round(self.max_steps * share)))
        )


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The training of a source's last stage; many cells share it.

    Attributes:
        source: all stages so far.
        start: the training of the stages before, whose weights it begins with.
        known: tasks whose labels the heads have; more than the source's where a later stage adds labels.
    """

    id: str
    source: Source
    seed: int
    budget: Budget
    start: TrainingPlan | None = None
    known: tuple[Task, ...] = ()


@dataclass(frozen=True, slots=True)
class CellPlan:
    """One cell: what the runner needs to measure it.

    Attributes:
        label_map: the spec's, source label to target label.
        undefined: why the cell can have no value; such a cell is not measured.
        initial_seed: of the random weights that the pretrained encoder has, if it has such.
    """

    id: str
    key: CellKey
    source: Source | None
    target: Task
    training: TrainingPlan | None = None
    finetune: Budget | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)
    baselines: dict[str, str] = field(default_factory=dict)
    is_baseline: bool = False
    undefined: str = ""
    initial_seed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """All cells of a run, each once, baselines included."""

    cells: dict[str, CellPlan]

    @property
    def trainings(self) -> dict[str, TrainingPlan]:
        """The source trainings that the cells need, each once and after the one that it starts from."""
        found: dict[str, TrainingPlan] = {}

        def add(training: TrainingPlan | None) -> None:
            if training is not None and training.id not in found:
                add(training.start)
                found[training.id] = training

        for cell in self.cells.values():
            add(cell.training)
        return found

    def record(self, corpus: Corpus, own: str) -> TransferPlan:
        """Return the plan as the report reads it; ``own`` is the id of the run's own joint training."""
        seed = corpus.run.spec.seed
        cells = tuple(
            PlannedCell(
                id=c.id,
                key=c.key,
                baselines=c.baselines,
                is_baseline=c.is_baseline,
                training=c.training.id if c.training else "",
                undefined=c.undefined,
            )
            for c in self.cells.values()
        )
        tasks = {name: corpus.task_info(task, seed) for name, task in corpus.run.tasks.items()}
        trainings = tuple(name for name in self.trainings if name != own)
        return TransferPlan(cells=cells, trainings=trainings, tasks=tasks)
