"""The pure plan: every cell that a spec asks for, with its baselines, named by a hash of what it uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from sslm_platform.baselines import TFIDF_C
from sslm_platform.corpus import Corpus
from sslm_platform.errors import Problem, SpecError, raise_all
from sslm_platform.report.records import CellKey, PlannedCell, SourceStage, TargetStage, TransferPlan
from sslm_platform.spec.resolved import Task
from sslm_platform.spec.schema import TransferSpec
from sslm_platform.train.job import (
    digest,
    encoder_content,
    metric_content,
    task_content,
    training_content,
)
from sslm_platform.train.joint import joint_id
from sslm_platform.transfer.sources import Source, expand_sources, expand_targets, head_for
from sslm_platform.types import OutputKind

PROBE = {"solver": "lbfgs", "inverse_l2": [0.1, 1.0, 10.0]}


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a training is: steps, or passes over its data."""

    max_steps: int | None
    epochs: float | None

    def content(self) -> dict[str, Any]:
        """Return what identifies the budget."""
        return {"max_steps": self.max_steps, "epochs": self.epochs}


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """One source training; many cells share it."""

    id: str
    source: Source
    seed: int
    budget: Budget


@dataclass(frozen=True, slots=True)
class CellPlan:
    """One cell: what the runner needs to measure it."""

    id: str
    key: CellKey
    source: Source | None
    target: Task
    training: TrainingPlan | None = None
    finetune: Budget | None = None
    baselines: dict[str, str] = field(default_factory=dict)
    is_baseline: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All cells of a run, each once, baselines included."""

    cells: dict[str, CellPlan]

    @property
    def trainings(self) -> dict[str, TrainingPlan]:
        """The source trainings that the cells need, each once."""
        return {cell.training.id: cell.training for cell in self.cells.values() if cell.training}

    def record(self, corpus: Corpus) -> TransferPlan:
        """Return the plan as the report reads it."""
        seed = corpus.run.spec.seed
        cells = tuple(
            PlannedCell(id=c.id, key=c.key, baselines=c.baselines, is_baseline=c.is_baseline)
            for c in self.cells.values()
        )
        tasks = {name: corpus.task_info(task, seed) for name, task in corpus.run.tasks.items()}
        return TransferPlan(cells=cells, tasks=tasks)


def plan_cells(corpus: Corpus) -> Plan:
    """Return the cells of all transfer blocks.

    Raises:
        SpecError: a block asks for no cell that can be measured, or for a probe of a tied head.
    """
    planner = _CellPlanner(corpus)
    for index, block in enumerate(corpus.run.spec.transfer):
        planner.block(block, corpus.run.loaded.where("transfer", index))
    raise_all(SpecError, planner.problems)
    return Plan(planner.cells)


class _CellPlanner:
    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.tasks = list(corpus.run.tasks.values())
        self.encoder = encoder_content(corpus)
        self.cells: dict[str, CellPlan] = {}
        self.problems: list[Problem] = []

    def block(self, block: TransferSpec, where: str) -> None:
        targets = expand_targets(block.targets, self.tasks)
        sources = expand_sources(block.sources, self.tasks) if block.source_stage != "none" else [None]
        for target in targets:
            if block.target_stage == "probe" and target.head.definition.tied:
                what = f"{target.identity}: a head tied to the embedding has no probe; use finetune"
                self.problems.append(Problem(f"{where}.targets", what))
        if self.problems:
            return
        before = len(self.cells)
        for seed in block.seeds or [self.corpus.run.spec.seed]:
            for source in sources:
                for target in targets:
                    if block.target_stage == "zero_shot" and not (source and head_for(source, target)):
                        continue  # no head that could answer: not a cell, rather than a failed one
                    self._asked(block, source, target, seed)
        if len(self.cells) == before and not any(self._covers(block, c) for c in self.cells.values()):
            what = (
                "no source has a head for any target: zero_shot needs tasks of one name with one kind of head"
            )
            self.problems.append(Problem(where, what))

    @staticmethod
    def _covers(block: TransferSpec, cell: CellPlan) -> bool:
        return cell.key.protocol == f"{block.source_stage}/{block.target_stage}"

    def _asked(self, block: TransferSpec, source: Source | None, target: Task, seed: int) -> None:
        finetune = self._finetune_budget(block) if block.target_stage == "finetune" else None
        training = self._training(block, source, seed) if source and block.source_stage == "full" else None
        baselines: dict[str, str] = {}
        if block.source_stage == "full" and block.target_stage != "zero_shot":
            pretrained = self._cell("none", block.target_stage, None, target, seed, finetune=finetune)
            baselines["pretrained"] = pretrained.id
        is_zero_shot = block.source_stage == "full" and block.target_stage == "zero_shot"
        if is_zero_shot and source and not target.head.definition.tied:
            baselines["head"] = self._cell("head", "zero_shot", source, target, seed).id
        if target.head.definition.emits is OutputKind.SEQUENCE_LOGITS:
            teacher = source if block.target_stage == "zero_shot" else Source(target.identity, (target,))
            baselines["tfidf"] = self._cell("tfidf", block.target_stage, teacher, target, seed).id
        baselines["majority"] = self._cell("majority", block.target_stage, None, target, seed).id
        self._cell(
            block.source_stage,
            block.target_stage,
            source,
            target,
            seed,
            training=training,
            finetune=finetune,
            baselines=baselines,
            is_baseline=False,
        )

    def _cell(
        self,
        source_stage: SourceStage,
        target_stage: TargetStage,
        source: Source | None,
        target: Task,
        seed: int,
        *,
        training: TrainingPlan | None = None,
        finetune: Budget | None = None,
        baselines: dict[str, str] | None = None,
        is_baseline: bool = True,
    ) -> CellPlan:
        key = CellKey(
            source_stage=source_stage,
            target_stage=target_stage,
            source=source.name if source else "",
            source_tasks=source.identities if source else (),
            target=target.identity,
            seed=seed,
        )
        content = self._content(source_stage, target_stage, source, target, training, finetune)
        cell = CellPlan(
            digest([content, seed]), key, source, target, training, finetune, baselines or {}, is_baseline
        )
        known = self.cells.get(cell.id)
        if known is not None:  # asked for twice, or as a baseline and for itself
            cell = replace(
                cell,
                baselines=known.baselines | cell.baselines,
                is_baseline=known.is_baseline and is_baseline,
            )
        self.cells[cell.id] = cell
        return cell

    def _content(
        self,
        source_stage: str,
        target_stage: str,
        source: Source | None,
        target: Task,
        training: TrainingPlan | None,
        finetune: Budget | None,
    ) -> dict[str, Any]:
        """Return what the cell's figures depend on, and nothing else: a new domain changes no other cell."""
        content: dict[str, Any] = {
            "stages": [source_stage, target_stage],
            "target": task_content(self.corpus, target),
            "metrics": metric_content(target),
        }
        if training is not None:
            content["training"] = training.id
        elif source is not None:
            content["source"] = [task_content(self.corpus, task) for task in source.tasks]
        if source_stage in ("none", "head", "full"):
            content["encoder"] = self.encoder
        if target_stage == "probe" or source_stage == "head":
            content["probe"] = PROBE
        if source_stage == "tfidf":
            content["inverse_l2"] = TFIDF_C
        if finetune is not None:
            content["finetune"] = training_content(self.corpus, [target], 0, finetune.content())
        return content

    def _training(self, block: TransferSpec, source: Source, seed: int) -> TrainingPlan:
        schedule = self.corpus.run.spec.schedule
        given = block.max_steps is not None or block.epochs is not None
        if source.joint or not given:
            budget = Budget(schedule.max_steps, schedule.epochs)
        else:
            budget = Budget(block.max_steps, block.epochs)
        if source.joint:
            return TrainingPlan(joint_id(self.corpus, seed), source, seed, budget)
        content = training_content(self.corpus, source.tasks, seed, budget.content())
        return TrainingPlan(digest(content), source, seed, budget)

    def _finetune_budget(self, block: TransferSpec) -> Budget:
        schedule = self.corpus.run.spec.schedule
        if block.finetune_max_steps is None and block.finetune_epochs is None:
            return Budget(schedule.max_steps, schedule.epochs)
        return Budget(block.finetune_max_steps, block.finetune_epochs)


def in_order(cells: Iterable[CellPlan]) -> list[tuple[TrainingPlan | None, list[CellPlan]]]:
    """Group cells by the encoder that they use, the pretrained one first, so that each is loaded once."""
    groups: dict[str, tuple[TrainingPlan | None, list[CellPlan]]] = {"": (None, [])}
    for cell in cells:
        key = cell.training.id if cell.training else ""
        groups.setdefault(key, (cell.training, []))[1].append(cell)
    return [group for group in groups.values() if group[1]]
