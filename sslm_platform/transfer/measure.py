"""Measuring one cell: what each protocol does with an encoder and a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sslm_platform.baselines import TEXT_FLOORS
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.decisions import decides, tune_head
from sslm_platform.evaluate import TaskModel, outputs_of, score_feed, texts_of
from sslm_platform.interfaces import Scored
from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.spec.resolved import Task
from sslm_platform.train.job import digest, initial_content
from sslm_platform.train.model import Model, add_heads, build_model, build_objective, task_model
from sslm_platform.transfer.answers import Answer, answer_for
from sslm_platform.transfer.cells import FEW_SHOT_PROBE
from sslm_platform.transfer.features import FeatureStore
from sslm_platform.transfer.floors import Measured, cell_feed, measure_majority, measure_text, measure_tfidf
from sslm_platform.transfer.heads import FittedHeads
from sslm_platform.transfer.mapped_head import MappedHead
from sslm_platform.transfer.plan import CellPlan, TrainingPlan
from sslm_platform.transfer.probe import Probe, fit_probe, score_features
from sslm_platform.transfer.training import Lab, load_source, train


class EncoderCells:
    """The cells of one encoder: pretrained, or the result of one source training.

    Args:
        lab: corpus, folder and device.
        training: the source's; None for the encoder that trainings start from.
        initial_seed: of that encoder's random weights, if it has such.
    """

    def __init__(self, lab: Lab, training: TrainingPlan | None, initial_seed: int = 0) -> None:
        self.lab = lab
        self.corpus = lab.corpus
        self.training = training
        self.initial_seed = initial_seed
        self._model: Model | None = None
        self._heads: FittedHeads | None = None
        if training is not None:
            self._model = load_source(lab, training)

    def measure(self, cell: CellPlan) -> Measured:
        """Measure one cell; its tokens are those that no cell before it had encoded."""
        before = self._heads.features.num_tokens if self._heads else 0
        measured = self._measured(cell)
        encoded = self._heads.features.num_tokens - before if self._heads else 0
        return replace(measured, num_tokens=measured.num_tokens + encoded)

    def _measured(self, cell: CellPlan) -> Measured:
        match cell.key.source_stage, cell.key.target_stage:
            case "majority", _:
                return measure_majority(self.corpus, cell, self._new_head(cell.target, cell.key.seed))
            case "tfidf", _:
                return measure_tfidf(self.corpus, cell)
            case ("copy" | "lead") as floor, _:
                return measure_text(self.corpus, cell, TEXT_FLOORS[floor])
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
            self._model = build_model(
                self.corpus, [next(iter(self.corpus.run.tasks.values()))], self.initial_seed
            )
            self._model.encoder.to(self.lab.device)
        return self._model.encoder

    @property
    def heads(self) -> FittedHeads:
        """Heads fitted to the frozen encoder."""
        if self._heads is None:
            features = FeatureStore(self.corpus, self.encoder, self.lab.device)
            initial = digest(initial_content(self.corpus, self.initial_seed))
            encoder = self.training.id if self.training else initial
            self._heads = FittedHeads(features, encoder, self.lab.folder.transfer / "heads")
        return self._heads

    @property
    def features(self) -> FeatureStore:
        """What heads read of the frozen encoder."""
        return self.heads.features

    def _num_train(self, tasks: Sequence[Task], seed: int) -> int:
        return sum(len(self.corpus.task_feed(task, seed).splits["train"]) for task in tasks)

    def _new_head(self, task: Task, seed: int) -> TaskModel:
        return self._new_heads([task], seed)[0]

    def _new_heads(self, tasks: Sequence[Task], seed: int) -> list[TaskModel]:
        model = add_heads(self.corpus, self.encoder, tasks, seed)
        for head in model.heads.values():
            head.to(self.lab.device)
        return [model.tasks[task.identity] for task in tasks]

    def _head(self, cell: CellPlan) -> Measured:
        """Fit the source's head on the frozen encoder, and let it answer for the target."""
        assert cell.source is not None
        answer, seed = self._answer(cell), cell.key.seed
        members = [task for task in cell.source.tasks if task.head_key == answer.head_key]
        models = self._new_heads(members, seed)
        probe = self.heads.fit(models, seed)
        model = self._answering(cell, answer, models[0], probe.head)
        scored = score_features(model, self.features.read(model, "test", seed), model.head.module)
        notes = {"inverse_l2": probe.inverse_l2}
        return Measured(scored, model.labels, self._num_train(members, seed), 0, notes)

    def _probe(self, cell: CellPlan) -> Measured:
        """Fit a new head on the frozen encoder, to all or a few of the target's training examples."""
        model, seed = self._new_head(cell.target, cell.key.seed), cell.key.seed
        num_train = self._num_train([cell.target], seed)
        if cell.key.shots is None:
            probe = self.heads.fit([model], seed)
        else:
            few = cell_feed(self.corpus, cell).splits["train"]
            model = self._counted(model, few)
            probe, num_train = self._few_shot_probe(model, few), len(few)
        scored = score_features(model, self.features.read(model, "test", seed), probe.head)
        return Measured(scored, model.labels, num_train, 0, {"inverse_l2": probe.inverse_l2})

    def _counted(self, model: TaskModel, few: FeedSplit) -> TaskModel:
        """Return a task with an objective that weighs labels by a draw of few examples."""
        return replace(
            model, objective=build_objective(self.corpus, model.task, model.labels, model.tokenizer, few)
        )

    def _few_shot_probe(self, model: TaskModel, few: FeedSplit) -> Probe:
        train = self.features.read_rows(model, few, "train")
        # one C is no choice, so what it would be chosen by does not matter
        return fit_probe([model], [train], [train], FEW_SHOT_PROBE["inverse_l2"])  # type: ignore[arg-type]

    def _zero_shot(self, cell: CellPlan) -> Measured:
        """Let the source's head answer for the target."""
        assert cell.source is not None and self._model is not None  # noqa: PT018
        answer = self._answer(cell)
        teacher = next(m for m in self._model.tasks.values() if m.task.head_key == answer.head_key)
        model = self._answering(cell, answer, teacher, teacher.head.module)
        num_train = self._num_train(cell.source.tasks, cell.key.seed)
        model.head.module.eval()
        if not model.task.head.definition.no_probe:
            test = self.features.read(model, "test", cell.key.seed)
            return Measured(score_features(model, test, model.head.module), model.labels, num_train, 0, {})
        split = self.corpus.task_feed(cell.target, cell.key.seed).splits["test"]
        scored = self._score(self.encoder, model, split)
        return Measured(scored, model.labels, num_train, int(split.lengths_N.sum()), {})

    def _finetune(self, cell: CellPlan) -> Measured:
        """Train encoder and a new head on the target, starting from this encoder."""
        assert cell.finetune is not None
        start = {k: v.detach().cpu().clone() for k, v in self.encoder.state_dict().items()}
        model = build_model(self.corpus, [cell.target], cell.key.seed)
        model.encoder.load_state_dict(start)
        model.give_adapters()  # that begin as the source's
        phase = f"finetune {cell.key.source or 'pretrained'} → {cell.target.identity}"
        feed = cell_feed(self.corpus, cell)
        if cell.key.shots is not None:
            counted = self._counted(model.tasks[cell.target.identity], feed.splits["train"])
            model = replace(model, tasks={cell.target.identity: counted})
        spent = train(self.lab, model, cell.key.seed, phase, cell.finetune, {feed.name: feed})
        model.load_weights(spent.encoder, spent.heads)  # they may be averages
        part = model.tasks[cell.target.identity]
        if decides(part.head.module):
            seen = feed.splits["dev" if cell.key.shots is None else "train"]  # few shots have no dev split
            tune_head(part.head.module, [self._score(model.encoder, part, seen)])
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
        if answer.mapping is not None:
            own = self._new_head(cell.target, cell.key.seed)
            head = MappedHead(head, own.head.module, answer.mapping)
        return task_model(self.corpus, cell.target, head, answer.labels, teacher.width, teacher.tokenizer)

    def _score(self, encoder: SharedEncoder, model: TaskModel, split: FeedSplit) -> Scored:
        encoder.eval()
        model.head.module.eval()
        models = {model.task.identity: model}
        pad_id = self.corpus.vocabulary.pad_id
        scored = score_feed(
            outputs_of(encoder, models),
            split,
            models,
            pad_id,
            texts=texts_of(encoder, models),
            device=self.lab.device,
        )
        return scored[model.task.identity]
