"""Probes: a new head on a frozen encoder, fitted to the optimum on features that are encoded once.

The head's own parameters minimise ``sum loss / sum weight + |W|^2 / (2 C n)`` over its matrices W (biases are
free) and n examples. For a linear head and cross entropy of one label an example this is scikit-learn's
``LogisticRegression(C=C)``; of two labels it is ``LogisticRegression(C=2 * C)``, whose one weight vector is
the difference of our two. C is chosen on the dev split. Protocol: Alain & Bengio, *Understanding intermediate
layers using linear classifier probes*, 2016.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sslm_platform.decisions import tune_head
from sslm_platform.evaluate import TaskModel, score_outputs
from sslm_platform.interfaces import Scored
from sslm_platform.scoring import goodness
from sslm_platform.transfer.features import Features

MAX_ITERATIONS = 200
SHARED_NUMBERS = 4_000_000  # features; below it one thread fits a probe faster than two


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
        scored = tune_head(head, [score_features(m, d, head) for m, d in zip(models, dev, strict=True)])
        value = float(np.mean([goodness(m.task, s, m.labels) for m, s in zip(models, scored, strict=True)]))
        if best is None or value > best[0]:
            best = (value, Probe(copy.deepcopy(head), c))
    assert best is not None
    return best[1]


def _minimize(head: nn.Module, models: Sequence[TaskModel], train: Sequence[Features], c: float) -> None:
    parameters = [p for p in head.parameters() if p.requires_grad]
    matrices = [p for p in parameters if p.dim() >= 2]
    num_examples = sum(part.num_examples for part in train)
    weight = sum(float(part.batch.weight_B.sum()) for part in train)
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
            losses_B = model.objective.losses(head(part.rows), part.batch.targets, part.num_examples)
            total = total + losses_B.sum() / weight
        total.backward()
        return total

    with _threads_for(train):
        optimizer.step(closure)


@contextmanager
def _threads_for(train: Sequence[Features]) -> Iterator[None]:
    """Let one thread do what is too small to share: waking another one costs more than a dot product."""
    before = torch.get_num_threads()
    small = sum(part.rows.numel() for part in train) < SHARED_NUMBERS
    torch.set_num_threads(1 if small else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def score_features(model: TaskModel, features: Features, head: nn.Module) -> Scored:
    """Return predictions and losses of a head on encoded features, in the order of the split."""
    with torch.no_grad():
        return score_outputs(model, features.batch, features.examples, head(features.rows))
