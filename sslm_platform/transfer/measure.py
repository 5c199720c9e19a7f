"""Measuring one cell: what each protocol does with an encoder and a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sslm_platform.data.feeds import FeedSplit
from sslm_platform.evaluate import TaskModel, outputs_of, score_feed
from sslm_platform.interfaces import Scored
from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.resolved import Task
from sslm_platform.train.model import Model, add_heads, build_model, task_model
from sslm_platform.transfer.answers import Answer, answer_for
from sslm_platform.transfer.cells import FEW_SHOT_PROBE, PROBE
from sslm_platform.transfer.floors import Measured, cell_feed, measure_majority, measure_tfidf
from sslm_platform.transfer.mapped_head import MappedHead
from sslm_platform.transfer.plan import CellPlan, TrainingPlan
from sslm_platform.transfer.probe import Features, encode_features, fit_probe, score_features
from sslm_platform.transfer.training import Lab, load_source, train


class EncoderCells:
    """The cells of one encoder: pretrained, or the result of one source training."""

    def __init__(self, lab: Lab, training: TrainingPlan | None) -> None:
        self.lab = lab
        self.corpus = lab.corpus
        self.training = training
        self._model: Model | None = None
        self._features: dict[tuple[Any, ...], Features] = {}
        if training is not None:
            self._model = load_source(lab, training)

    def measure(self, cell: CellPlan) -> Measured:
        """Measure one cell."""
        match cell.key.source_stage, cell.key.target_stage:
            case "majority", _:
                return measure_majority(self.corpus, cell, self._new_head(cell.target, cell.key.seed))
            case "tfidf", _:
                return measure_tfidf(self.corpus, cell)
            case "head", _:
                return self._head(cell)
            case _, "zero_shot":
                return self._zero_shot(cell)
            case _:
                return self._probe(cell) if cell.finetune is None else self._finetune(cell)

    @property
    def encoder(self) -> SharedEncoder:
        """The encoder, loaded when first needed."""
        if self._model is None:
            self._model = build_model(self.corpus, [next(iter(self.corpus.run.tasks.values()))], 0)
            self._model.encoder.to(self.lab.device)
        return self._model.encoder

    def _new_head(self, task: Task, seed: int) -> TaskModel:
        return self._new_heads([task], seed)[0]

    def _new_heads(self, tasks: Sequence[Task], seed: int) -> list[TaskModel]:
        model = add_heads(self.corpus, self.encoder, tasks, seed)
        for head in model.heads.values():
            head.to(self.lab.device)
        return [model.tasks[task.identity] for task in tasks]

    def _encoded(self, model: TaskModel, split: SplitName, seed: int) -> Features:
        """Encode a task's split once for a head's options and labels; its weights do not matter."""
        limited = model.task.stream.limit.train is not None and split == "train"
        options = model.task.head.options.model_dump_json()
        key = (model.task.identity, model.labels, options, split, seed if limited else 0)
        if key not in self._features:
            part = self.corpus.task_feed(model.task, seed).splits[split]
            self._features[key] = self._encode(model, part)
        return self._features[key]

    def _encode(self, model: TaskModel, part: FeedSplit) -> Features:
        return encode_features(self.corpus, self.encoder, model, part, self.lab.device)

    def _head(self, cell: CellPlan) -> Measured:
        """Fit the source's head on the frozen encoder, and let it answer for the target."""
        assert cell.source is not None
        answer = self._answer(cell)
        members = [task for task in cell.source.tasks if task.head_key == answer.head_key]
        models = self._new_heads(members, cell.key.seed)
        train = [self._encoded(m, "train", cell.key.seed) for m in models]
        dev = [self._encoded(m, "dev", cell.key.seed) for m in models]
        probe = fit_probe(models, train, dev, PROBE["inverse_l2"])  # type: ignore[arg-type]
        teacher = models[0]
        answering = self._answering(cell, answer, teacher, probe.head)
        test = self._encoded(answering, "test", cell.key.seed)
        scored = score_features(answering, test, answering.head.module)
        num_train = sum(part.num_examples for part in train)
        notes = {"inverse_l2": probe.inverse_l2}
        return Measured(scored, answering.labels, num_train, test.num_tokens, notes)

    def _probe(self, cell: CellPlan) -> Measured:
        """Fit a new head on the frozen encoder, to all or a few of the target's training examples."""
        model = self._new_head(cell.target, cell.key.seed)
        test = self._encoded(model, "test", cell.key.seed)
        parts = [test]
        if cell.key.shots is None:
            train, dev = (self._encoded(model, part, cell.key.seed) for part in ("train", "dev"))
            probe = fit_probe([model], [train], [dev], PROBE["inverse_l2"])  # type: ignore[arg-type]
            parts += [train, dev]
        else:
            train = self._encode(model, cell_feed(self.corpus, cell).splits["train"])
            # one C is no choice: what is passed to choose by is not looked at
            probe = fit_probe([model], [train], [train], FEW_SHOT_PROBE["inverse_l2"])  # type: ignore[arg-type]
            parts.append(train)
        scored = score_features(model, test, probe.head)
        tokens = sum(part.num_tokens for part in parts)
        return Measured(scored, model.labels, train.num_examples, tokens, {"inverse_l2": probe.inverse_l2})

    def _zero_shot(self, cell: CellPlan) -> Measured:
        """Let the source's head answer for the target."""
        assert cell.source is not None and self._model is not None  # noqa: PT018
        answer = self._answer(cell)
        teacher = next(m for m in self._model.tasks.values() if m.task.head_key == answer.head_key)
        model = self._answering(cell, answer, teacher, teacher.head.module)
        test = self.corpus.task_feed(cell.target, cell.key.seed).splits["test"]
        scored = self._score(self.encoder, model, test)
        num_train = sum(
            len(self.corpus.task_feed(t, cell.key.seed).splits["train"]) for t in cell.source.tasks
        )
        return Measured(scored, model.labels, num_train, int(test.lengths_N.sum()), {})

    def _finetune(self, cell: CellPlan) -> Measured:
        """Train encoder and a new head on the target, starting from this encoder."""
        assert cell.finetune is not None
        start = {k: v.detach().cpu().clone() for k, v in self.encoder.state_dict().items()}
        model = build_model(self.corpus, [cell.target], cell.key.seed)
        model.encoder.load_state_dict(start)
        phase = f"finetune {cell.key.source or 'pretrained'} → {cell.target.identity}"
        feed = cell_feed(self.corpus, cell)
        spent = train(self.lab, model, cell.key.seed, phase, cell.finetune, {feed.name: feed})
        part = model.tasks[cell.target.identity]
        scored = self._score(model.encoder, part, feed.splits["test"])
        return Measured(scored, part.labels, len(feed.splits["train"]), spent.num_tokens, {})

    def _answer(self, cell: CellPlan) -> Answer:
        assert cell.source is not None
        known = cell.training.known if cell.training else ()
        answer = answer_for(self.corpus, cell.source, cell.target, cell.label_map, known)
        assert answer is not None
        return answer

    def _answering(self, cell: CellPlan, answer: Answer, teacher: TaskModel, head: Any) -> TaskModel:
        """Return the target's task with a source's head, which answers with the target's labels."""
        width = teacher.width
        if answer.mapping is not None:
            own = self._new_head(cell.target, cell.key.seed)
            head = MappedHead(head, own.head.module, answer.mapping)
        return task_model(self.corpus, cell.target, head, answer.labels, width)

    def _score(self, encoder: SharedEncoder, model: TaskModel, split: FeedSplit) -> Scored:
        encoder.eval()
        model.head.module.eval()
        models: Mapping[str, TaskModel] = {model.task.identity: model}
        outputs = outputs_of(encoder, models)
        pad_id = self.corpus.vocabulary.pad_id
        return score_feed(outputs, split, models, pad_id, device=self.lab.device)[model.task.identity]
