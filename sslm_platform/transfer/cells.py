"""The pure plan: every cell that a spec asks for, with its baselines, named by a hash of what it uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sslm_platform.baselines import TEXT_FLOORS, TFIDF_C
from sslm_platform.corpus import Corpus
from sslm_platform.errors import Problem, SpecError, raise_all, suggest
from sslm_platform.kinds import OutputKind
from sslm_platform.report.records import CellKey, TargetStage
from sslm_platform.spec.resolved import Task
from sslm_platform.spec.transfer import TransferSpec
from sslm_platform.train.job import (
    digest,
    encoder_content,
    initial_seed,
    metric_content,
    task_content,
    training_content,
)
from sslm_platform.train.joint import joint_id
from sslm_platform.transfer.answers import Answer, answer_for
from sslm_platform.transfer.designs import Arm, Design
from sslm_platform.transfer.labels import label_kinds
from sslm_platform.transfer.plan import Budget, CellPlan, Plan, TrainingPlan
from sslm_platform.transfer.sources import Source, alone, expand_targets, heads_for, several_adapters
from sslm_platform.transfer.units import WITHOUT_ENCODER

PROBE = {"solver": "lbfgs", "inverse_l2": [0.1, 1.0, 10.0]}
FEW_SHOT_PROBE = {
    "solver": "lbfgs",
    "inverse_l2": [1.0],
}  # a dev split to choose by would be more than few shots


@dataclass(frozen=True, slots=True)
class Learning:
    """What is learned of the target: its stage, and what of its training split."""

    stage: TargetStage
    finetune: Budget | None = None
    shots: int | None = None
    draw: int = 0

    @property
    def probes(self) -> bool:
        """Whether a new head is fitted on the frozen encoder."""
        return self.stage == "probe" or (self.stage == "few_shot" and self.finetune is None)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a :class:`CellKey`."""
        fields: dict[str, Any] = {"target_stage": self.stage}
        if self.shots is not None:
            learner = "finetune" if self.finetune else "probe"
            fields |= {"shots": self.shots, "draw": self.draw, "learner": learner}
        return fields


def plan_cells(corpus: Corpus) -> Plan:
    """Return the cells of all transfer blocks.

    Raises:
        SpecError: a block asks for no cell that can be measured, for a probe of a tied head, or maps a label
            that does not exist; or two blocks ask for the same place of a matrix in different ways.
    """
    planner = _CellPlanner(corpus)
    problems = []
    for index, block in enumerate(corpus.run.spec.transfer):
        where = corpus.run.loaded.where("transfer", index)
        found = list(_problems(corpus, block, where))
        problems += found or planner.block(block, where)
    where = corpus.run.loaded.where("transfer")
    problems += [*_twice(planner.cells.values(), where), *_namesakes(planner.cells.values(), where)]
    raise_all(SpecError, problems)
    return Plan(planner.cells)


def _twice(cells: Iterable[CellPlan], where: str) -> Iterator[Problem]:
    """Yield a place of a matrix that two trainings are asked for: they would be averaged."""
    first: dict[CellKey, CellPlan] = {}
    for cell in cells:
        if not cell.is_baseline and first.setdefault(cell.key, cell) is not cell:
            what = f"two blocks ask for {cell.key.protocol}: {cell.key.source} → {cell.key.target}"
            yield Problem(where, f"{what}, with different budgets or label maps; make them runs of their own")
            return


def _namesakes(cells: Iterable[CellPlan], where: str) -> Iterator[Problem]:
    """Yield a row of a matrix that stands for two sources: they would be averaged."""
    first: dict[tuple[str, str], Any] = {}
    for cell in cells:
        key = cell.key
        members = key.row if key.source_stage == "pairwise" else key.source_tasks
        if not cell.is_baseline and first.setdefault((key.protocol, key.source), members) != members:
            what = f"two blocks have other tasks under the name {key.source!r} in {key.protocol}"
            yield Problem(where, f"{what}; list the same sources in both, or make them runs of their own")
            return


def _problems(corpus: Corpus, block: TransferSpec, where: str) -> Iterator[Problem]:
    tasks = list(corpus.run.tasks.values())
    targets = expand_targets(block.targets, tasks)
    if any(learning.probes for learning in _learnings(corpus, block)):
        for target in targets:
            if target.head.definition.no_probe:
                what = f"{target.identity}: {target.head.definition.no_probe}; use finetune"
                yield Problem(f"{where}.targets", what)
    trained = _label_names(corpus, Design(block, tasks).tasks)
    asked = _label_names(corpus, targets)
    for label, wanted in block.label_map.items():
        if label not in trained:
            yield Problem(f"{where}.label_map.{label}", f"no source has this label{suggest(label, trained)}")
        if wanted not in asked:
            what = f"no target has the label {wanted!r}{suggest(wanted, asked)}"
            yield Problem(f"{where}.label_map.{label}", what)


def _label_names(corpus: Corpus, tasks: Sequence[Task]) -> set[str]:
    return {name for task in tasks for name in label_kinds(corpus.labels([task]), tags=_has_tags(task))}


def _has_tags(task: Task) -> bool:
    return task.head.definition.emits.has_tags


def _learnings(corpus: Corpus, block: TransferSpec) -> list[Learning]:
    budget = _budget(corpus, block.finetune_max_steps, block.finetune_epochs)
    if block.few_shot is None:
        return [Learning(block.target_stage, budget if block.target_stage == "finetune" else None)]
    finetune = budget if block.few_shot.by == "finetune" else None
    draws = range(block.few_shot.draws)
    return [Learning("few_shot", finetune, k, draw) for k in block.few_shot.sizes for draw in draws]


def _budget(corpus: Corpus, max_steps: int | None, epochs: float | None) -> Budget:
    if max_steps is None and epochs is None:
        return Budget(corpus.run.spec.schedule.max_steps, corpus.run.spec.schedule.epochs)
    return Budget(max_steps, epochs)


class _CellPlanner:
    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.tasks = list(corpus.run.tasks.values())
        self.encoder = encoder_content(corpus)
        self.cells: dict[str, CellPlan] = {}

    def block(self, block: TransferSpec, where: str) -> list[Problem]:
        """Add the cells of a block; return the problem of one that asks for none."""
        design = Design(block, self.tasks)
        targets = expand_targets(block.targets, self.tasks)
        budget = _budget(self.corpus, block.max_steps, block.epochs)
        num_asked = 0
        for seed in block.seeds or [self.corpus.run.spec.seed]:
            planner = _BlockPlanner(self, seed, budget, block.label_map, design)
            for learning in _learnings(self.corpus, block):
                for arm, target in design.cells(targets):
                    num_asked += planner.asked(arm, target, learning)
        if num_asked:
            return []
        if block.target_stage == "zero_shot" and any(True for _ in design.cells(targets)):
            what = (
                "no source has a head for any target: zero_shot needs tasks of one name with one kind of head"
            )
        else:
            what = f"{block.source_stage} asks for no cell: it needs two sources or more that share no task"
        return [Problem(where, what)]

    def add(self, cell: CellPlan) -> CellPlan:
        """Add a cell; one that is there keeps what it is compared with and, if asked for, its name."""
        known = self.cells.get(cell.id)
        if known is not None:  # asked for twice, or as a baseline and for itself
            cell = replace(
                cell,
                key=cell.key if known.is_baseline and not cell.is_baseline else known.key,
                baselines=known.baselines | cell.baselines,
                is_baseline=known.is_baseline and cell.is_baseline,
            )
        self.cells[cell.id] = cell
        return cell


@dataclass(frozen=True, slots=True)
class _BlockPlanner:
    """Plans the cells of one block and one seed."""

    planner: _CellPlanner
    seed: int
    budget: Budget
    label_map: Mapping[str, str]
    design: Design
    trainings: dict[tuple[Any, ...], TrainingPlan] = field(default_factory=dict)

    @property
    def corpus(self) -> Corpus:
        return self.planner.corpus

    def asked(self, arm: Arm, target: Task, learning: Learning) -> bool:
        """Plan a cell with its baselines; False where it can be none, for want of a head."""
        training = self._training(arm)
        answer = self._answer(arm, target, training) if learning.stage == "zero_shot" else None
        if learning.stage == "zero_shot" and answer is None:
            return self._ambiguous(arm, target, learning)
        if training is not None and (reason := several_adapters(training.source)):
            self._cell(arm, target, learning, is_baseline=False, undefined=reason)
            return True
        if answer is not None and arm.source is not None and answer.lacking:
            self._cell(arm, target, learning, is_baseline=False, undefined=answer.undefined(arm.source))
            return True
        baselines = self._compared(arm, target, learning)
        baselines |= self._without_training(arm, target, learning, training, answer)
        self._cell(
            arm, target, learning, training=training, answer=answer, baselines=baselines, is_baseline=False
        )
        return True

    def _ambiguous(self, arm: Arm, target: Task, learning: Learning) -> bool:
        """Plan an undefined cell where several heads could answer; return whether that is so."""
        if arm.source is None:
            return False
        heads = heads_for(arm.source, target, mapped=bool(self.label_map))
        if len(heads) < 2:
            return False
        why = f"{arm.source.name} has {len(heads)} heads for it; head.shared_as makes them one"
        self._cell(arm, target, learning, is_baseline=False, undefined=why)
        return True

    def _compared(self, arm: Arm, target: Task, learning: Learning) -> dict[str, str]:
        """Plan the cells that the arm's design compares it with."""
        found = {}
        for name, other in arm.compared.items():
            training = self._training(other)
            answer = self._answer(other, target, training) if learning.stage == "zero_shot" else None
            if learning.stage == "zero_shot" and (answer is None or answer.lacking):
                continue
            if training is not None and several_adapters(training.source):
                continue
            found[name] = self._cell(other, target, learning, training=training, answer=answer).id
        return found

    def _without_training(
        self, arm: Arm, target: Task, learning: Learning, training: TrainingPlan | None, answer: Answer | None
    ) -> dict[str, str]:
        """Plan the baselines that train no encoder on the source."""
        found = {}
        zero_shot = learning.stage == "zero_shot"
        if training is not None and not zero_shot:
            found["pretrained"] = self._cell(Arm("none", None), target, learning).id
        if training is not None and zero_shot and not target.head.definition.no_probe:
            head = Arm("head", arm.source)
            theirs = self._answer(head, target, None)
            if theirs is not None and not theirs.lacking:
                found["head"] = self._cell(head, target, learning, answer=theirs).id
        is_labelled = not target.objective.definition.labels  # not by the objective, from the text
        has_labels = target.head.definition.emits is OutputKind.SEQUENCE_LOGITS and is_labelled
        is_answered = target.primary.definition.needs_predictions  # whoever has no model has no losses either
        ranks = target.head.definition.emits in (OutputKind.RANKING, OutputKind.CHOICE_LOGITS)
        if (has_labels or ranks) and is_answered:
            teacher = Arm("tfidf", arm.source if zero_shot else alone(target))
            found["tfidf"] = self._cell(teacher, target, learning, answer=answer).id
        is_written = target.head.definition.emits.is_generated and not target.objective.definition.makes_text
        if is_written and is_answered:
            for name in TEXT_FLOORS:
                found[name] = self._cell(Arm(name, None), target, Learning(learning.stage)).id
        found["majority"] = self._cell(Arm("majority", None), target, Learning(learning.stage)).id
        return found

    def _answer(self, arm: Arm, target: Task, training: TrainingPlan | None) -> Answer | None:
        if arm.source is None:
            return None
        known = training.known if training else ()
        return answer_for(self.corpus, arm.source, target, self.label_map, known)

    def _cell(
        self,
        arm: Arm,
        target: Task,
        learning: Learning,
        *,
        training: TrainingPlan | None = None,
        answer: Answer | None = None,
        baselines: dict[str, str] | None = None,
        is_baseline: bool = True,
        undefined: str = "",
    ) -> CellPlan:
        key = CellKey(
            source_stage=arm.stage,
            source=arm.name or (arm.source.name if arm.source else ""),
            source_tasks=arm.source.identities if arm.source else (),
            row=arm.row,
            target=target.identity,
            seed=self.seed,
            **learning.fields,
        )
        content = self._content(arm, target, learning, training, answer)
        if undefined:
            content["undefined"] = undefined
        return self.planner.add(
            CellPlan(
                digest([content, self.seed]),
                key,
                arm.source,
                target,
                training,
                learning.finetune,
                self.label_map if learning.stage == "zero_shot" else {},
                baselines or {},
                is_baseline,
                undefined,
                self._initial_seed,
            )
        )

    def _content(
        self,
        arm: Arm,
        target: Task,
        learning: Learning,
        training: TrainingPlan | None,
        answer: Answer | None,
    ) -> dict[str, Any]:
        """Return what the cell's figures depend on, and nothing else: a new domain changes no other cell."""
        content: dict[str, Any] = {
            "stages": [arm.stage, learning.stage],
            "target": task_content(self.corpus, target),
            "metrics": metric_content(target),
        }
        if training is not None:
            content["training"] = training.id
        elif arm.source is not None:
            content["source"] = [task_content(self.corpus, task) for task in arm.source.tasks]
        if learning.shots is not None:
            content["few_shot"] = learning.fields
        if answer is not None and answer.mapping is not None:
            content["labels"] = answer.mapping
        if arm.stage == "tfidf":
            mapped = self.label_map and learning.stage == "zero_shot"  # it says whose texts teach
            return content | {"inverse_l2": TFIDF_C} | ({"label_map": dict(self.label_map)} if mapped else {})
        if arm.stage in WITHOUT_ENCODER:
            return content
        content["encoder"] = self.planner.encoder
        if self._initial_seed:
            content["initialization"] = self._initial_seed
        if learning.probes or arm.stage == "head":
            content["probe"] = FEW_SHOT_PROBE if learning.shots else PROBE
        if learning.finetune is not None:
            content["finetune"] = training_content(self.corpus, [target], 0, learning.finetune.content())
        return content

    @property
    def _initial_seed(self) -> int:
        return initial_seed(self.corpus, self.seed)

    def _training(self, arm: Arm) -> TrainingPlan | None:
        """Return the training of an arm, or None where it trains no encoder on a source."""
        if arm.source is None or arm.stage in ("head", "tfidf"):
            return None
        stages = tuple(tuple(task.identity for task in stage) for stage in arm.source.stages)
        key = (arm.stage, arm.source.joint, stages)
        if key not in self.trainings:
            self.trainings[key] = self._new_training(arm, arm.source)
        return self.trainings[key]

    def _new_training(self, arm: Arm, source: Source) -> TrainingPlan:
        """Plan a training after those of the stages before it."""
        if source.joint:
            schedule = self.corpus.run.spec.schedule
            budget = Budget(schedule.max_steps, schedule.epochs)
            return TrainingPlan(
                joint_id(self.corpus, self.seed), source, self.seed, budget, None, source.tasks
            )
        before = arm.compared.get("before")
        start = self._training(before) if before else None
        known = self.design.tasks if arm.stage == "sequential" else source.tasks
        budget = self.budget.shared(arm.share)
        content = training_content(self.corpus, source.stages[-1], self.seed, budget.content())
        if start is not None:
            content["start"] = start.id
        labels = self._head_labels(source.tasks, known)
        if start is not None or labels != self._head_labels(source.tasks, source.tasks):
            content["labels"] = labels
        return TrainingPlan(digest(content), source, self.seed, budget, start, known)

    def _head_labels(self, tasks: Sequence[Task], known: Sequence[Task]) -> dict[str, tuple[str, ...]]:
        """Return the labels of the tasks' heads, or whose texts made their tokenizers.

        Both are of all tasks that share the head among ``known``.
        """
        found = {}
        for key in {task.head_key for task in tasks}:
            members = [task for task in known if task.head_key == key]
            owns = members[0].spec.head.tokenizer is not None
            found[key] = tuple(task.identity for task in members) if owns else self.corpus.labels(members)
        return found
