"""Measuring one cell: what each protocol does with an encoder and a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sslm_platform.baselines import majority, tfidf
from sslm_platform.corpus import Corpus, target_field
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.errors import RunError
from sslm_platform.evaluate import TaskModel, goodness, outputs_of, score_feed
from sslm_platform.interfaces import Scored
from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.resolved import Bound, Task
from sslm_platform.train.model import Model, add_heads, build_model, load_trained, task_model
from sslm_platform.transfer.cells import PROBE, CellPlan, TrainingPlan
from sslm_platform.transfer.probe import Features, encode_features, fit_probe, score_features
from sslm_platform.transfer.sources import Source, head_for
from sslm_platform.transfer.training import Lab, train, train_source
from sslm_platform.types import HeadDef


@dataclass(frozen=True, slots=True)
class Measured:
    """What measuring a cell gives."""

    scored: Scored
    labels: tuple[str, ...]
    num_train: int
    num_tokens: int
    notes: Mapping[str, str | float]


class EncoderCells:
    """The cells of one encoder: pretrained, or the result of one source training."""

    def __init__(self, lab: Lab, training: TrainingPlan | None) -> None:
        self.lab = lab
        self.corpus = lab.corpus
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
            self._model.encoder.to(self.lab.device)
        return self._model.encoder

    def _trained(self, plan: TrainingPlan) -> Model:
        folder = train_source(self.lab, plan)
        model = load_trained(self.corpus, plan.source.tasks, folder)
        model.encoder.to(self.lab.device)
        for head in model.heads.values():
            head.to(self.lab.device)
        return model

    def _split(self, cell: CellPlan, name: str) -> FeedSplit:
        return self.corpus.task_feed(cell.target, cell.key.seed).splits[name]  # type: ignore[index]

    def _new_head(self, task: Task, seed: int) -> TaskModel:
        model = add_heads(self.corpus, self.encoder, [task], seed)
        for head in model.heads.values():
            head.to(self.lab.device)
        return model.tasks[task.identity]

    def _encoded(self, model: TaskModel, head: Bound[HeadDef], split: str, seed: int) -> Features:
        """Encode a task's split once for a head's options and labels; its weights do not matter."""
        limited = model.task.stream.limit.train is not None and split == "train"
        options = head.options.model_dump_json()
        key = (model.task.identity, model.labels, options, split, seed if limited else 0)
        if key not in self._features:
            feed = self.corpus.task_feed(model.task, seed)
            part = feed.splits[split]  # type: ignore[index]
            self._features[key] = encode_features(self.corpus, self.encoder, model, part, self.lab.device)
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
        return score_feed(outputs, split, models, pad_id, device=self.lab.device)[model.task.identity]

    def _finetune(self, cell: CellPlan) -> Measured:
        """Train encoder and a new head on the target, starting from this encoder."""
        assert cell.finetune is not None
        start = {k: v.detach().cpu().clone() for k, v in self.encoder.state_dict().items()}
        model = build_model(self.corpus, [cell.target], cell.key.seed)
        model.encoder.load_state_dict(start)
        phase = f"finetune {cell.key.source or 'pretrained'} → {cell.target.identity}"
        tokens = train(self.lab, model, cell.key.seed, phase, cell.finetune.content())
        part = model.tasks[cell.target.identity]
        model.encoder.eval()
        part.head.module.eval()
        models = {cell.target.identity: part}
        test = self._split(cell, "test")
        pad_id = self.corpus.vocabulary.pad_id
        outputs = outputs_of(model.encoder, models)
        scored = score_feed(outputs, test, models, pad_id, device=self.lab.device)
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
