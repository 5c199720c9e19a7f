"""Measuring the planned cells: each source trained once, each data set encoded once per encoder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from sslm_platform.baselines import majority, tfidf
from sslm_platform.corpus import Corpus, target_field
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.engine.factory import make_engine
from sslm_platform.errors import RunError, SslmError
from sslm_platform.evaluate import TaskModel, goodness, outputs_of, score_feed, score_intervals
from sslm_platform.interfaces import Scored
from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.plugins import host
from sslm_platform.report.records import CellRecord, read_record, write_record
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.resolved import Bound, Task
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.folder import RunFolder, versions
from sslm_platform.train.joint import joint_id, train_joint
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import Model, add_heads, build_model, load_trained, task_model
from sslm_platform.train.observers import Notifier, TerminalProgress, observing
from sslm_platform.transfer.cells import PROBE, CellPlan, Plan, TrainingPlan, in_order, plan_cells
from sslm_platform.transfer.probe import Features, encode_features, fit_probe, score_features
from sslm_platform.transfer.sources import Source, head_for
from sslm_platform.types import HeadDef

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Measured:
    """What measuring a cell gives."""

    scored: Scored
    labels: tuple[str, ...]
    num_train: int
    num_tokens: int
    notes: Mapping[str, str | float]


def run_transfer(corpus: Corpus, folder: RunFolder, console: Console) -> Plan:
    """Measure every planned cell that has no finished record; a cell that fails is recorded as such."""
    plan = plan_cells(corpus)
    write_record(plan.record(corpus), folder.transfer / "plan.json")
    progress = TerminalProgress(console)
    with observing(host(), progress), progress.live():
        _Runner(corpus, folder, console).run(plan)
    return plan


def is_finished(folder: RunFolder, cell: CellPlan) -> bool:
    """Whether a cell has a finished record."""
    path = _record_path(folder, cell)
    return path.exists() and read_record(CellRecord, path).status == "done"


def _record_path(folder: RunFolder, cell: CellPlan) -> Path:
    return folder.transfer / "cells" / cell.id / "record.json"


class _Runner:
    def __init__(self, corpus: Corpus, folder: RunFolder, console: Console) -> None:
        self.corpus = corpus
        self.folder = folder
        self.console = console
        # one process measures cells, whatever engine the joint training has
        self.engine = EngineSpec(
            precision=corpus.run.spec.engine.precision, threads=corpus.run.spec.engine.threads
        )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.versions = versions() | {"threads": str(torch.get_num_threads())}
        self.notifier = Notifier(host())

    def run(self, plan: Plan) -> None:
        open_cells = [c for c in plan.cells.values() if not is_finished(self.folder, c)]
        done = len(plan.cells) - len(open_cells)
        self.console.print(
            f"transfer: {len(open_cells)} cells to measure, {done} done before", highlight=False
        )
        for training, cells in in_order(open_cells):
            self._group(training, cells)

    def _group(self, training: TrainingPlan | None, cells: list[CellPlan]) -> None:
        """Measure all cells of one encoder; what fails, in a plugin or in torch, does not stop the rest."""
        try:
            encoder = _Encoder(self, training)
        except Exception as error:
            for cell in cells:
                self._write(cell, _failed(cell, error))
            return
        for cell in cells:
            began = time.perf_counter()
            try:
                record = self._done(cell, encoder.measure(cell), began)
            except Exception as error:
                record = _failed(cell, error)
            self._write(cell, record)

    def _done(self, cell: CellPlan, measured: Measured, began: float) -> CellRecord:
        scores, resamples = score_intervals(cell.target, measured.scored, measured.labels)
        definition = cell.target.primary.definition
        return CellRecord(
            id=cell.id,
            key=cell.key,
            status="done",
            metric=cell.target.primary_name,
            higher_is_better=definition.higher_is_better,
            best=definition.best,
            scores=scores,
            resamples=resamples,
            num_train=measured.num_train,
            num_test=len(measured.scored),
            seconds=time.perf_counter() - began,
            num_tokens=measured.num_tokens,
            notes=dict(measured.notes),
            environment=self.versions,
        )

    def _write(self, cell: CellPlan, record: CellRecord) -> None:
        write_record(record, _record_path(self.folder, cell))
        self.notifier.cell_finished(record)


def _failed(cell: CellPlan, error: Exception) -> CellRecord:
    reason = str(error)
    if not isinstance(error, SslmError):
        reason = f"{type(error).__name__}: {error}"
        log.error("a cell failed", exc_info=error)
    metric = cell.target.primary_name
    return CellRecord(id=cell.id, key=cell.key, status="failed", error=reason, metric=metric)


class _Encoder:
    """The cells of one encoder: pretrained, or the result of one source training."""

    def __init__(self, runner: _Runner, training: TrainingPlan | None) -> None:
        self.runner = runner
        self.corpus = runner.corpus
        self.training = training
        self._model: Model | None = None
        self._features: dict[tuple[Any, ...], Features] = {}
        if training is not None:
            self._model = self._trained(training)

    def measure(self, cell: CellPlan) -> Measured:
        """Measure one cell."""
        stage = cell.key.source_stage
        if stage == "majority":
            return self._majority(cell)
        if stage == "tfidf":
            return self._tfidf(cell)
        if stage == "head":
            return self._head(cell)
        by_target: dict[str, Callable[[CellPlan], Measured]] = {
            "zero_shot": self._zero_shot,
            "probe": self._probe,
            "finetune": self._finetune,
        }
        return by_target[cell.key.target_stage](cell)

    @property
    def encoder(self) -> SharedEncoder:
        """The encoder, loaded when first needed."""
        if self._model is None:
            self._model = build_model(self.corpus, [next(iter(self.corpus.run.tasks.values()))], 0)
            self._model.encoder.to(self.runner.device)
        return self._model.encoder

    def _trained(self, plan: TrainingPlan) -> Model:
        folder = _train_source(self.runner, plan)
        model = load_trained(self.corpus, plan.source.tasks, folder)
        model.encoder.to(self.runner.device)
        for head in model.heads.values():
            head.to(self.runner.device)
        return model

    def _split(self, cell: CellPlan, name: str) -> FeedSplit:
        return self.corpus.task_feed(cell.target, cell.key.seed).splits[name]  # type: ignore[index]

    def _new_head(self, task: Task, seed: int) -> TaskModel:
        model = add_heads(self.corpus, self.encoder, [task], seed)
        for head in model.heads.values():
            head.to(self.runner.device)
        return model.tasks[task.identity]

    def _encoded(self, model: TaskModel, head: Bound[HeadDef], split: str, seed: int) -> Features:
        """Encode a task's split once for a head's options and labels; its weights do not matter."""
        limited = model.task.stream.limit.train is not None and split == "train"
        options = head.options.model_dump_json()
        key = (model.task.identity, model.labels, options, split, seed if limited else 0)
        if key not in self._features:
            feed = self.corpus.task_feed(model.task, seed)
            part = feed.splits[split]  # type: ignore[index]
            self._features[key] = encode_features(self.corpus, self.encoder, model, part, self.runner.device)
        return self._features[key]

    def _majority(self, cell: CellPlan) -> Measured:
        model = self._new_head(cell.target, cell.key.seed)
        train, test = self._split(cell, "train"), self._split(cell, "test")
        scored = majority(model, train, test, self.corpus.vocabulary.pad_id)
        return Measured(scored, model.labels, len(train), 0, {})

    def _tfidf(self, cell: CellPlan) -> Measured:
        assert cell.source is not None
        target, labels = cell.target, self.corpus.labels([cell.target])
        teachers = [t for t in cell.source.tasks if t.spec.name == target.spec.name]
        train, dev = (self._labelled(teachers, part, cell.key.seed, labels) for part in ("train", "dev"))
        if not train[0]:
            raise RunError(f"undefined: {cell.source.name} has none of {target.identity}'s labels")
        test = self._split(cell, "test")
        predictions, chosen = tfidf(
            train,
            _texts(target, test),
            labels,
            dev[0],
            lambda answers: goodness(target, _answered(answers, [labels.index(n) for n in dev[1]]), labels),
        )
        gold = test.encoded(target.identity, range(len(test)), labels)
        references = [example.values[target_field(target) or ""] for example in gold]
        scored = _answered(predictions, references)
        return Measured(scored, labels, len(train[0]), 0, {"inverse_l2": chosen})

    def _labelled(
        self, tasks: list[Task], part: SplitName, seed: int, labels: tuple[str, ...]
    ) -> tuple[list[str], list[str]]:
        """Return texts and label names of a split of some tasks, where the label is among ``labels``."""
        pairs = []
        for task in tasks:
            split = self.corpus.task_feed(task, seed).splits[part]
            names = split.values(task.identity, target_field(task) or "")
            pairs += [(t, n) for t, n in zip(_texts(task, split), names, strict=True) if n in labels]
        return [text for text, _ in pairs], [name for _, name in pairs]

    def _head(self, cell: CellPlan) -> Measured:
        """Fit the source's head on the frozen encoder, and let it answer for the target."""
        assert cell.source is not None
        members = _head_members(cell.source, cell.target)
        built = add_heads(self.corpus, self.encoder, members, cell.key.seed)
        models = [built.tasks[task.identity] for task in members]
        _require_labels(self.corpus, cell.target, models[0].labels)
        head = members[0].head
        train = [self._encoded(m, head, "train", cell.key.seed) for m in models]
        dev = [self._encoded(m, head, "dev", cell.key.seed) for m in models]
        probe = fit_probe(models, train, dev, PROBE["inverse_l2"])  # type: ignore[arg-type]
        size = self.encoder.backbone.get_input_embeddings().num_embeddings
        answering = task_model(self.corpus, cell.target, probe.head, models[0].labels, size)
        test = self._encoded(answering, head, "test", cell.key.seed)
        scored = score_features(answering, test, probe.head)
        num_train = sum(part.num_examples for part in train)
        return Measured(
            scored, models[0].labels, num_train, test.num_tokens, {"inverse_l2": probe.inverse_l2}
        )

    def _probe(self, cell: CellPlan) -> Measured:
        model = self._new_head(cell.target, cell.key.seed)
        head = cell.target.head
        parts = {s: self._encoded(model, head, s, cell.key.seed) for s in ("train", "dev", "test")}
        probe = fit_probe([model], [parts["train"]], [parts["dev"]], PROBE["inverse_l2"])  # type: ignore[arg-type]
        scored = score_features(model, parts["test"], probe.head)
        tokens = sum(part.num_tokens for part in parts.values())
        notes = {"inverse_l2": probe.inverse_l2}
        return Measured(scored, model.labels, parts["train"].num_examples, tokens, notes)

    def _zero_shot(self, cell: CellPlan) -> Measured:
        assert cell.source is not None and self._model is not None  # noqa: PT018
        key = head_for(cell.source, cell.target)
        assert key is not None
        teacher = next(m for m in self._model.tasks.values() if m.task.head_key == key)
        _require_labels(self.corpus, cell.target, teacher.labels)
        model = task_model(self.corpus, cell.target, teacher.head.module, teacher.labels, teacher.width)
        scored = self._score(model, self._split(cell, "test"))
        num_train = sum(
            len(self.corpus.task_feed(t, cell.key.seed).splits["train"]) for t in cell.source.tasks
        )
        return Measured(scored, teacher.labels, num_train, 0, {})

    def _score(self, model: TaskModel, split: FeedSplit) -> Scored:
        self.encoder.eval()
        model.head.module.eval()
        models = {model.task.identity: model}
        outputs = outputs_of(self.encoder, models)
        pad_id = self.corpus.vocabulary.pad_id
        return score_feed(outputs, split, models, pad_id, device=self.runner.device)[model.task.identity]

    def _finetune(self, cell: CellPlan) -> Measured:
        """Train encoder and a new head on the target, starting from this encoder."""
        assert cell.finetune is not None
        start = {k: v.detach().cpu().clone() for k, v in self.encoder.state_dict().items()}
        model = build_model(self.corpus, [cell.target], cell.key.seed)
        model.encoder.load_state_dict(start)
        phase = f"finetune {cell.key.source or 'pretrained'} → {cell.target.identity}"
        tokens = _train(self.runner, model, cell.key.seed, phase, cell.finetune.content())
        part = model.tasks[cell.target.identity]
        model.encoder.eval()
        part.head.module.eval()
        models = {cell.target.identity: part}
        test = self._split(cell, "test")
        pad_id = self.corpus.vocabulary.pad_id
        outputs = outputs_of(model.encoder, models)
        scored = score_feed(outputs, test, models, pad_id, device=self.runner.device)
        num_train = len(self._split(cell, "train"))
        return Measured(scored[cell.target.identity], part.labels, num_train, tokens, {})


def _answered(predictions: list[int], references: list[int]) -> Scored:
    """Return answers without losses."""
    zeros = np.zeros(len(predictions))
    return Scored(predictions, references, zeros, zeros)


def _texts(task: Task, split: FeedSplit) -> list[str]:
    columns = [split.values(task.identity, name) for name, _ in task.input_columns]
    return ["\n".join(values) for values in zip(*columns, strict=True)]


def _head_members(source: Source, target: Task) -> list[Task]:
    key = head_for(source, target)
    return [task for task in source.tasks if task.head_key == key]


def _require_labels(corpus: Corpus, target: Task, labels: tuple[str, ...]) -> None:
    missing = sorted(set(corpus.labels([target])) - set(labels))
    if missing:
        raise RunError(f"undefined: the source's head does not know {', '.join(missing[:5])}")


def _train_source(runner: _Runner, plan: TrainingPlan) -> Path:
    """Return the model folder of a source training; train where it is not there."""
    corpus = runner.corpus
    if plan.source.joint:
        own = plan.id == joint_id(corpus, corpus.run.spec.seed)
        folder = runner.folder if own else RunFolder(runner.folder.transfer / "trainings" / plan.id)
        train_joint(corpus, folder, runner.console, plan.seed, runner.engine)
        return folder.model
    target = runner.folder.transfer / "trainings" / plan.id / "model"
    if target.exists():
        return target
    model = build_model(corpus, plan.source.tasks, plan.seed)
    _train(runner, model, plan.seed, f"source {plan.source.name}", plan.budget.content())
    encoder, heads = model.encoder.state_dict(), {n: h.state_dict() for n, h in model.heads.items()}
    model.save(target, corpus.tokenizer, encoder, heads)
    return target


def _train(
    runner: _Runner, model: Model, seed: int, phase: str, budget: Mapping[str, float | int | None]
) -> int:
    """Train a model's tasks to the end of the budget, without selection; return the tokens seen."""
    spec = runner.corpus.run.spec
    engine = make_engine(runner.engine, spec.optimizer, model.encoder, model.heads)
    training = plan_training(
        runner.corpus,
        model,
        spec.schedule,
        spec.optimizer,
        seed,
        phase,
        **budget,  # type: ignore[arg-type]
    )
    tokens = 0
    for record in train_steps(training, engine, training.start()):
        runner.notifier.step_ended(record)
        tokens += record.num_tokens
    engine.close()
    return tokens
