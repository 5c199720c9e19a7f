"""Evidence for estimators: each piece is made once, whoever asks, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sslm_platform.data.feeds import FeedSplit
from sslm_platform.errors import UndefinedError
from sslm_platform.evidence import (
    Evidence,
    JointLog,
    Pair,
    SourceOutputs,
    TargetFeatures,
    TaskGradient,
    TaskTexts,
)
from sslm_platform.kinds import EvidenceKind
from sslm_platform.spec.resolved import Task
from sslm_platform.transfer.joint_evidence import joint_log, read_steps
from sslm_platform.transfer.plan import TrainingPlan
from sslm_platform.transfer.pretrained_evidence import PretrainedEvidence
from sslm_platform.transfer.source_evidence import SourceEvidence, is_trained
from sslm_platform.transfer.sources import Source, several_adapters
from sslm_platform.transfer.training import Lab


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of estimators: what does this source do for this target?

    Attributes:
        training: of the source, in the spec's plan; None where no transfer block trains it.
        seed: draws training examples where a stream is limited.
    """

    source: Source
    target: Task
    training: TrainingPlan | None
    seed: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of evidence, or why there is none, and the seconds that it took."""

    value: Any
    seconds: float


class EvidenceRoom:
    """Makes evidence and keeps it: tasks' own pieces for good, a source's until another is asked about.

    Args:
        lab: corpus, folder and device.
        num_examples: at most so many training examples of each task are encoded.
        num_gradients: at most so many of them are differentiated.
        may_train: whether sources without a model are trained.
    """

    def __init__(self, lab: Lab, num_examples: int, num_gradients: int, *, may_train: bool) -> None:
        self.lab = lab
        self.num_examples = num_examples
        self.num_gradients = num_gradients
        self.may_train = may_train
        self._pretrained = PretrainedEvidence(lab)
        self._kept: dict[str, Piece] = {}
        self._of_source: dict[str, Piece] = {}
        self._training = ""
        self._make: dict[EvidenceKind, Callable[[Question, dict[str, float]], Any]] = {
            EvidenceKind.FEATURES: self._features,
            EvidenceKind.OUTPUTS: self._outputs,
            EvidenceKind.TEXTS: self._texts,
            EvidenceKind.GRADIENTS: self._gradients,
            EvidenceKind.LOG: self._log,
        }

    def evidence(
        self, needs: Collection[EvidenceKind], question: Question
    ) -> tuple[Evidence, dict[str, float]]:
        """Return the evidence, and the seconds of each piece that it is made of.

        Raises:
            UndefinedError: some of it cannot be made; the message says why.
        """
        seconds: dict[str, float] = {}
        made = {str(kind): self._make[kind](question, seconds) for kind in sorted(needs)}
        return Evidence(**made), seconds

    def _features(self, question: Question, seconds: dict[str, float]) -> TargetFeatures:
        source, part = self._source(question, seconds), self._part(question.target, question.seed)
        key = f"features:{self._training}:{question.target.identity}"
        made: TargetFeatures = self._piece(
            self._of_source, key, lambda: source.features(question.target, part), seconds
        )
        return made

    def _outputs(self, question: Question, seconds: dict[str, float]) -> SourceOutputs:
        source, part = self._source(question, seconds), self._part(question.target, question.seed)
        key = f"outputs:{self._training}:{question.target.identity}"
        made: SourceOutputs = self._piece(
            self._of_source, key, lambda: source.outputs(question.target, part), seconds
        )
        return made

    def _source(self, question: Question, seconds: dict[str, float]) -> SourceEvidence:
        training = question.training
        if training is None:
            raise UndefinedError("no transfer block of the spec trains this source (source_stage: full)")
        if reason := several_adapters(training.source):
            raise UndefinedError(reason)
        if not self.may_train and not is_trained(self.lab, training):
            raise UndefinedError("the source is not trained: `sslm transfer run` does it, or --train here")
        if training.id != self._training:
            self._of_source, self._training = {}, training.id  # one model in memory, not all
        made: SourceEvidence = self._piece(
            self._of_source, f"model:{training.id}", lambda: SourceEvidence(self.lab, training), seconds
        )
        return made

    def _texts(self, question: Question, seconds: dict[str, float]) -> Pair[TaskTexts]:
        def of(task: Task) -> TaskTexts:
            part = self._part(task, question.seed)
            key = f"texts:{task.identity}:{question.seed}"  # the seed draws the sample
            made: TaskTexts = self._piece(
                self._kept, key, lambda: self._pretrained.texts(task, part), seconds
            )
            return made

        return Pair(_union([of(task) for task in question.source.tasks]), of(question.target))

    def _gradients(self, question: Question, seconds: dict[str, float]) -> Pair[TaskGradient]:
        def of(task: Task) -> TaskGradient:
            part = self._part(task, question.seed)
            part = part.take(np.arange(min(self.num_gradients, len(part))))
            made: TaskGradient = self._piece(
                self._kept,
                f"gradients:{task.identity}:{question.seed}",
                lambda: self._pretrained.gradient(task, part, question.seed),
                seconds,
            )
            return made

        target = of(question.target)
        sources = [of(task) for task in question.source.tasks]
        means = (np.mean([g.mean_P for g in sources], axis=0), np.mean([g.fisher_P for g in sources], axis=0))
        return Pair(TaskGradient(*means), target)

    def _log(self, question: Question, seconds: dict[str, float]) -> JointLog:
        corpus, folder = self.lab.corpus, self.lab.folder
        steps = self._piece(self._kept, "log", lambda: read_steps(corpus, folder), seconds)
        return joint_log(steps, question.source.identities, question.target.identity)

    def _part(self, task: Task, seed: int) -> FeedSplit:
        """Return the training examples that are looked at: those of the smallest keys, in that order."""
        train = self.lab.corpus.task_feed(task, seed).splits["train"]
        return train.take(np.argsort(train.keys_N, kind="stable")[: self.num_examples])

    def _piece(
        self, kept: dict[str, Piece], key: str, make: Callable[[], Any], seconds: dict[str, float]
    ) -> Any:
        if key not in kept:
            began = time.perf_counter()
            try:
                value = make()
            except UndefinedError as error:
                value = error
            kept[key] = Piece(value, time.perf_counter() - began)
        piece = kept[key]
        seconds[key] = piece.seconds
        if isinstance(piece.value, UndefinedError):
            raise piece.value
        return piece.value


def _union(texts: Sequence[TaskTexts]) -> TaskTexts:
    """Put tasks' texts together; labels of one name are one label."""
    names = tuple(dict.fromkeys(name for part in texts for name in part.names))
    ids = [np.array([*(names.index(name) for name in part.names), -1])[part.labels_N] for part in texts]
    return TaskTexts(np.concatenate([part.vectors_ND for part in texts]), np.concatenate(ids), names)
