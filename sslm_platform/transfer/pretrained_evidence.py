"""Evidence from the pretrained encoder: a task's texts, and the gradient of its loss."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from sslm_platform.corpus import target_field
from sslm_platform.data.batching import collate_inputs
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.errors import UndefinedError
from sslm_platform.evaluate import (
    EVALUATION_SEED,
    TaskModel,
    evaluation_batches,
    make_batch,
    outputs_of,
)
from sslm_platform.evidence import TaskGradient, TaskTexts
from sslm_platform.kinds import OutputKind
from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.model.multitask import TaskHead
from sslm_platform.spec.resolved import Task
from sslm_platform.train.job import digest, initial_content
from sslm_platform.train.model import add_heads, build_model
from sslm_platform.transfer.features import FeatureStore
from sslm_platform.transfer.heads import FittedHeads
from sslm_platform.transfer.training import Lab

MAX_COORDINATES = 1 << 20  # of a gradient that are kept: 8 MB a task, and a cosine's error is about 0.001


class PretrainedEvidence:
    """What the pretrained encoder says of tasks."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.corpus = lab.corpus

    @cached_property
    def encoder(self) -> SharedEncoder:
        """The encoder before any training of the run."""
        first = next(iter(self.corpus.run.tasks.values()))
        encoder = build_model(self.corpus, [first], self.corpus.run.spec.seed).encoder.to(self.lab.device)
        encoder.eval()
        return encoder

    @cached_property
    def _heads(self) -> FittedHeads:
        store = FeatureStore(self.corpus, self.encoder, self.lab.device)
        folder = self.lab.folder.transfer / "heads"
        return FittedHeads(store, digest(initial_content(self.corpus, self.corpus.run.spec.seed)), folder)

    def texts(self, task: Task, part: FeedSplit) -> TaskTexts:
        """Encode some examples of a task's training split, unmasked, and average each one's states."""
        names: tuple[str, ...] = ()
        labels_N = np.full(len(part), -1, dtype=np.int64)
        is_labelled = not task.objective.definition.labels
        if task.head.definition.emits is OutputKind.SEQUENCE_LOGITS and is_labelled:
            names, field = self.corpus.labels([task]), target_field(task) or ""
            labels_N = np.array([names.index(name) for name in part.values(task.identity, field)])
        vectors_ND = np.empty((len(part), self.encoder.hidden_size))
        for rows in evaluation_batches(part.lengths_N):
            examples = part.encoded(task.identity, rows.tolist(), names)
            inputs = collate_inputs(examples, None, self.corpus.vocabulary.pad_id)
            means = self._means(inputs.input_ids_BL, inputs.mask_BL, inputs.segment_BL)
            windows_B = np.array([1 if e.window_S is None else len(e.window_S) for e in examples])
            firsts_B = np.cumsum(windows_B) - windows_B
            vectors_ND[rows] = np.add.reduceat(means, firsts_B, axis=0) / windows_B[:, None]
        return TaskTexts(vectors_ND, labels_N, names)

    def _means(self, ids_BL: Tensor, mask_BL: Tensor, segment_BL: Tensor | None) -> np.ndarray:
        device = self.lab.device
        segment_BL = None if segment_BL is None else segment_BL.to(device)
        mask_BL = mask_BL.to(device)
        with torch.no_grad():
            hidden_BLD, _ = self.encoder(ids_BL.to(device), mask_BL, segment_BL)
        mask_BL1 = mask_BL[..., None].to(hidden_BLD.dtype)
        means_BD = (hidden_BLD * mask_BL1).sum(dim=1) / mask_BL1.sum(dim=1)
        return means_BD.double().cpu().numpy()

    def gradient(self, task: Task, part: FeedSplit, seed: int) -> TaskGradient:
        """Return the gradient of the task's loss on these examples, one backward for each.

        The head is a probe, fitted to the whole training split. Parameters are the encoder's but for its
        embeddings, whose gradients tell which words a task has; of more than 2^20 a fixed sample is kept.

        Raises:
            UndefinedError: the task's head has no probe, or no example has a target.
        """
        if task.head.definition.no_probe:
            raise UndefinedError(f"{task.identity}: {task.head.definition.no_probe}")
        new = add_heads(self.corpus, self.encoder, [task], seed).tasks[task.identity]
        new.head.module.to(self.lab.device)
        probe = self._heads.fit([new], seed)
        return self._gradient(replace(new, head=TaskHead(probe.head.eval(), False)), part)

    def _gradient(self, model: TaskModel, part: FeedSplit) -> TaskGradient:
        identity, models = model.task.identity, {model.task.identity: model}
        parameters = _shared_parameters(self.encoder)
        kept_P = _coordinates(sum(p.numel() for p in parameters))
        outputs = outputs_of(self.encoder, models)
        mean_P, fisher_P = np.zeros(len(kept_P)), np.zeros(len(kept_P))
        total, count = 0.0, 0
        for row in range(len(part)):
            batch = make_batch(
                part,
                np.array([row]),
                models,
                self.corpus.vocabulary.pad_id,
                EVALUATION_SEED,
                0,
                self.lab.device,
            )
            targets = batch.tasks[identity]
            weight = float(targets.weight_B.sum())
            if weight == 0.0:
                continue
            loss = model.objective.losses(outputs(batch)[identity], targets.targets, 1).sum()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            flat_P = _flat(gradients, parameters)[kept_P]
            mean_P += flat_P
            fisher_P += (flat_P / weight) ** 2
            total, count = total + weight, count + 1
        if count == 0:
            raise UndefinedError(f"{identity}: no example has a target")
        return TaskGradient((mean_P / total).astype(np.float32), (fisher_P / count).astype(np.float32))


def _shared_parameters(encoder: nn.Module) -> list[nn.Parameter]:
    """Return all parameters but those of embeddings."""
    tables = {id(p) for m in encoder.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    return [p for p in encoder.parameters() if p.requires_grad and id(p) not in tables]


def _coordinates(num: int) -> np.ndarray:
    if num <= MAX_COORDINATES:
        return np.arange(num)
    return np.sort(np.random.default_rng(0).choice(num, MAX_COORDINATES, replace=False))


def _flat(gradients: tuple[Tensor | None, ...], parameters: list[nn.Parameter]) -> np.ndarray:
    parts = [
        torch.zeros_like(p).flatten() if g is None else g.flatten()
        for g, p in zip(gradients, parameters, strict=True)
    ]
    return torch.cat(parts).double().cpu().numpy()
