"""Evidence from a trained source: how the target looks to its encoder, and what its head answers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sslm_platform.data.feeds import FeedSplit
from sslm_platform.errors import UndefinedError
from sslm_platform.evaluate import TaskModel
from sslm_platform.evidence import SourceOutputs, TargetFeatures
from sslm_platform.spec.resolved import Task
from sslm_platform.train.joint import is_done, joint_id
from sslm_platform.train.model import Model, add_heads, task_model
from sslm_platform.transfer.features import FeatureStore
from sslm_platform.transfer.plan import TrainingPlan
from sslm_platform.transfer.sources import Source, head_for
from sslm_platform.transfer.training import Lab, load_source


def is_trained(lab: Lab, training: TrainingPlan) -> bool:
    """Whether a source's model is there; loading it would train nothing."""
    if training.source.joint and training.id == joint_id(lab.corpus, lab.corpus.run.spec.seed):
        return is_done(lab.folder, training.id)
    return (lab.folder.transfer / "trainings" / training.id / "model").exists()


class SourceEvidence:
    """One source's trained model, and targets encoded by it, each once."""

    def __init__(self, lab: Lab, training: TrainingPlan) -> None:
        self.corpus = lab.corpus
        self.device = lab.device
        self.source = training.source
        self.model: Model = load_source(lab, training)
        self.store = FeatureStore(lab.corpus, self.model.encoder, lab.device)

    def features(self, target: Task, part: FeedSplit) -> TargetFeatures:
        """Return some examples of the target's training split as its own kind of head reads them."""
        model = add_heads(self.corpus, self.model.encoder, [target], 0).tasks[target.identity]
        read = self.store.read_rows(model, part, "train")
        targets = read.batch.targets["labels"].cpu()
        is_label = target.head.definition.emits.has_labels
        return TargetFeatures(
            _array(read.rows),
            targets.numpy() if is_label else _array(targets),
            len(model.labels) if is_label else 0,
        )

    def outputs(self, target: Task, part: FeedSplit) -> SourceOutputs:
        """Return the source's distribution over its own labels on the same examples."""
        teacher = self._teacher(target)
        labels = self.corpus.labels([target])
        reader = task_model(self.corpus, target, teacher.head.module, labels, teacher.width)
        read = self.store.read_rows(reader, part, "train")
        teacher.head.module.eval()
        with torch.no_grad():
            probabilities = torch.softmax(teacher.head.module(read.rows).double(), dim=-1)
        return SourceOutputs(_array(probabilities), read.batch.targets["labels"].cpu().numpy(), len(labels))

    def _teacher(self, target: Task) -> TaskModel:
        key = answering_head(self.source, target)
        return next(model for model in self.model.tasks.values() if model.task.head_key == key)


def answering_head(source: Source, target: Task) -> str:
    """Return the key of the source's head whose answers are looked at.

    It is the one that would answer for the target, else the source's only one of the target's kind.

    Raises:
        UndefinedError: there is none, or there are several.
    """
    key = head_for(source, target)
    if key is not None:
        return key
    emits = target.head.definition.emits
    keys = sorted({task.head_key for task in source.tasks if task.head.definition.emits is emits})
    if len(keys) != 1:
        what = f"{len(keys)} heads of {emits}: {', '.join(keys)}" if keys else f"no head of {emits}"
        raise UndefinedError(f"the source has {what}")
    return keys[0]


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()
