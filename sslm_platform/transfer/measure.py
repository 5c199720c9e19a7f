"""Measuring one cell: what each protocol does with an encoder and a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sslm_platform.baselines import majority, tfidf
from sslm_platform.corpus import Corpus, target_field
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.errors import RunError
from sslm_platform.evaluate import TaskModel, goodness, outputs_of, score_feed
from sslm_platform.interfaces import Scored
from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.resolved import Task
from sslm_platform.train.job import digest, encoder_content
from sslm_platform.train.model import Model, add_heads, build_model, load_trained, task_model
from sslm_platform.transfer.cells import CellPlan, TrainingPlan
from sslm_platform.transfer.features import FeatureStore
from sslm_platform.transfer.heads import FittedHeads
from sslm_platform.transfer.probe import score_features
from sslm_platform.transfer.sources import Source, head_for
from sslm_platform.transfer.training import Lab, train, train_source


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
        self._heads: FittedHeads | None = None
        if training is not None:
            self._model = self._trained(training)

    def measure(self, cell: CellPlan) -> Measured:
        """Measure one cell; its tokens are those that no cell before it had encoded."""
        before = self._heads.features.num_tokens if self._heads else 0
        measured = self._measured(cell)
        encoded = self._heads.features.num_tokens - before if self._heads else 0
        return replace(measured, num_tokens=measured.num_tokens + encoded)

    def _measured(self, cell: CellPlan) -> Measured:
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

    @property
    def heads(self) -> FittedHeads:
        """Heads fitted to the frozen encoder."""
        if self._heads is None:
            features = FeatureStore(self.corpus, self.encoder, self.lab.device)
            encoder = self.training.id if self.training else digest(encoder_content(self.corpus))
            self._heads = FittedHeads(features, encoder, self.lab.folder.transfer / "heads")
        return self._heads

    @property
    def features(self) -> FeatureStore:
        """What heads read of the frozen encoder."""
        return self.heads.features

    def _trained(self, plan: TrainingPlan) -> Model:
        folder = train_source(self.lab, plan)
        model = load_trained(self.corpus, plan.source.tasks, folder)
        model.encoder.to(self.lab.device)
        for head in model.heads.values():
            head.to(self.lab.device)
        return model

    def _split(self, cell: CellPlan, name: str) -> FeedSplit:
        return self.corpus.task_feed(cell.target, cell.key.seed).splits[name]  # type: ignore[index]

    def _num_train(self, task: Task, seed: int) -> int:
        return len(self.corpus.task_feed(task, seed).splits["train"])

    def _new_head(self, task: Task, seed: int) -> TaskModel:
        model = add_heads(self.corpus, self.encoder, [task], seed)
        for head in model.heads.values():
            head.to(self.lab.device)
        return model.tasks[task.identity]

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
        probe = self.heads.fit(models, cell.key.seed)
        size = self.encoder.backbone.get_input_embeddings().num_embeddings
        answering = task_model(self.corpus, cell.target, probe.head, models[0].labels, size)
        test = self.features.read(answering, "test", cell.key.seed)
        scored = score_features(answering, test, probe.head)
        num_train = sum(self._num_train(task, cell.key.seed) for task in members)
        return Measured(scored, models[0].labels, num_train, 0, {"inverse_l2": probe.inverse_l2})

    def _probe(self, cell: CellPlan) -> Measured:
        model, seed = self._new_head(cell.target, cell.key.seed), cell.key.seed
        probe = self.heads.fit([model], seed)
        scored = score_features(model, self.features.read(model, "test", seed), probe.head)
        notes = {"inverse_l2": probe.inverse_l2}
        return Measured(scored, model.labels, self._num_train(cell.target, seed), 0, notes)

    def _zero_shot(self, cell: CellPlan) -> Measured:
        assert cell.source is not None and self._model is not None  # noqa: PT018
        key = head_for(cell.source, cell.target)
        assert key is not None
        teacher = next(m for m in self._model.tasks.values() if m.task.head_key == key)
        _require_labels(self.corpus, cell.target, teacher.labels)
        model = task_model(self.corpus, cell.target, teacher.head.module, teacher.labels, teacher.width)
        num_train = sum(self._num_train(task, cell.key.seed) for task in cell.source.tasks)
        model.head.module.eval()
        if not model.head.tied:
            scored = score_features(
                model, self.features.read(model, "test", cell.key.seed), model.head.module
            )
            return Measured(scored, teacher.labels, num_train, 0, {})
        test = self._split(cell, "test")
        return Measured(self._score(model, test), teacher.labels, num_train, int(test.lengths_N.sum()), {})

    def _score(self, model: TaskModel, split: FeedSplit) -> Scored:
        self.encoder.eval()
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
