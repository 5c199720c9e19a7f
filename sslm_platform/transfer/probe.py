"""Probes: a new head on a frozen encoder, fitted to the optimum on features that are encoded once.

The head's own parameters minimise ``sum loss / sum weight + |W|^2 / (2 C n)`` over its matrices W (biases are
free) and n examples. For a linear head and cross entropy of one label an example this is scikit-learn's
``LogisticRegression(C=C)``; of two labels it is ``LogisticRegression(C=2 * C)``, whose one weight vector is
the difference of our two. C is chosen on the dev split. Protocol: Alain & Bengio, *Understanding intermediate
layers using linear classifier probes*, 2016.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sslm_platform.corpus import Corpus
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.evaluate import (
    EVALUATION_SEED,
    Batch,
    TaskModel,
    evaluation_batches,
    goodness,
    make_batch,
    score_batches,
)
from sslm_platform.interfaces import Scored
from sslm_platform.model.encoder import SharedEncoder

MAX_ITERATIONS = 200


@dataclass(frozen=True, slots=True)
class Features:
    """A split as a head reads it, batch by batch; no gradient flows into it."""

    batches: list[tuple[Batch, Tensor]]
    num_tokens: int

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return sum(len(batch.rows) for batch, _ in self.batches)


def encode_features(
    corpus: Corpus, encoder: SharedEncoder, model: TaskModel, split: FeedSplit, device: torch.device
) -> Features:
    """Encode a split once and keep what the head reads of it (float32)."""
    identity = model.task.identity
    batches = []
    encoder.eval()
    with torch.no_grad():
        for rows in evaluation_batches(split.lengths_N):
            batch = make_batch(
                split, rows, {identity: model}, corpus.vocabulary.pad_id, EVALUATION_SEED, 0, device
            )
            inputs = batch.inputs
            hidden_BLD, _ = encoder(inputs["input_ids_BL"], inputs["mask_BL"], inputs["segment_BL"])
            targets = batch.tasks[identity].targets
            features = model.head.module.features(hidden_BLD, inputs["mask_BL"], targets)
            batches.append((batch, features.float()))
    return Features(batches, int(split.lengths_N.sum()))


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted head, and the C that dev chose."""

    head: nn.Module
    inverse_l2: float


def fit_probe(
    models: Sequence[TaskModel],
    train: Sequence[Features],
    dev: Sequence[Features],
    inverse_l2: Sequence[float],
) -> Probe:
    """Fit one head to the training features of its tasks; choose C by the mean dev score (primary metric).

    Each fit starts at the one before, from the strongest penalty on.
    """
    head = models[0].head.module
    head.eval()
    best: tuple[float, Probe] | None = None
    for c in sorted(inverse_l2):
        _minimize(head, models, train, c)
        value = float(
            np.mean(
                [
                    goodness(m.task, score_features(m, d, head), m.labels)
                    for m, d in zip(models, dev, strict=True)
                ]
            )
        )
        if best is None or value > best[0]:
            best = (value, Probe(copy.deepcopy(head), c))
    assert best is not None
    return best[1]


def _minimize(head: nn.Module, models: Sequence[TaskModel], train: Sequence[Features], c: float) -> None:
    parameters = [p for p in head.parameters() if p.requires_grad]
    matrices = [p for p in parameters if p.dim() >= 2]
    num_examples = sum(part.num_examples for part in train)
    weight = sum(
        float(batch.tasks[m.task.identity].weight_B.sum())
        for m, part in zip(models, train, strict=True)
        for batch, _ in part.batches
    )
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=MAX_ITERATIONS,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = sum((p.square().sum() for p in matrices), start=torch.zeros(())) / (2 * c * num_examples)
        for model, part in zip(models, train, strict=True):
            for batch, features in part.batches:
                targets = batch.tasks[model.task.identity].targets
                losses_B = model.objective.losses(head(features), targets, len(batch.rows))
                total = total + losses_B.sum() / weight
        total.backward()
        return total

    optimizer.step(closure)


def score_features(model: TaskModel, features: Features, head: nn.Module) -> Scored:
    """Return predictions and losses of a head on encoded features, in the order of the split."""
    with torch.no_grad():
        results = [(batch, head(rows)) for batch, rows in features.batches]
        return score_batches(model, results)
