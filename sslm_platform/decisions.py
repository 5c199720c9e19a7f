"""What predictions are made of and counted in, and thresholds that a dev split sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from sslm_platform.interfaces import DecidingHead, Encoded, Scored, Targets, rows_by_example
from sslm_platform.kinds import AttentionPattern, OutputKind
from sslm_platform.spec.resolved import Task


def decides(head: Any) -> TypeGuard[DecidingHead]:
    """Whether a head has a threshold to set.

    An engine's wrapper passes on what its module has, which ``isinstance`` does not see from Python 3.12 on.
    """
    return all(hasattr(head, name) for name in ("scores", "decide", "tune"))


def scores_of(
    task: Task, head: Any, outputs: Tensor, targets: Targets, num_examples: int
) -> list[np.ndarray] | None:
    """Return each example's scores, or None where neither the head nor a metric of the task asks for them."""
    if decides(head):
        return list(head.scores(outputs, targets, num_examples))
    if task.head.definition.emits is OutputKind.RANKING:  # its vectors, of which the split is ranked
        example_N = targets["example"].cpu().numpy()
        return rows_by_example(outputs.double().cpu().numpy(), example_N, num_examples)
    if not any(bound.definition.needs_scores for bound in task.metrics.values()):
        return None
    make = _OF_KIND.get(task.head.definition.emits)
    return None if make is None else list(make(outputs.double()).cpu().numpy())


def target_bytes(task: Task, targets: Targets, examples: Sequence[Encoded]) -> np.ndarray | None:
    """Return how many bytes of its text each example's targets are, (B,); None where nothing counts them."""
    if task.head.definition.emits is not OutputKind.VOCABULARY_LOGITS:
        return None
    # in a causal reading a row is at the token before its target
    ahead = task.objective.definition.attention is not AttentionPattern.BIDIRECTIONAL
    bytes_B = np.zeros(len(examples))
    for index, place in zip(targets["example"].tolist(), targets["position"].tolist(), strict=True):
        counted_L = examples[index].num_bytes_L
        if counted_L is None:
            return None
        bytes_B[index] += counted_L[place + ahead] if place + ahead < len(counted_L) else 0
    return bytes_B


def tune_head(head: Any, scored: Sequence[Scored]) -> list[Scored]:
    """Let a head set its threshold, or temperature, by the dev splits of all tasks that share it.

    Returns:
        The same examples, scored and predicted with it. A head that has none is left alone.
    """
    if not decides(head):
        return list(scored)
    changed = head.tune(_together(scored))
    if changed is not None:
        left = iter(changed)
        scored = [replace(one, scores=list(islice(left, len(one)))) for one in scored]
    return [replace(one, predictions=list(head.decide(one.scores or ()))) for one in scored]


def _together(scored: Sequence[Scored]) -> Scored:
    return Scored(
        _chained(one.predictions for one in scored),
        _chained(one.references for one in scored),
        np.concatenate([one.losses_N for one in scored]),
        np.concatenate([one.weights_N for one in scored]),
        _chained(one.scores or () for one in scored),
    )


def _chained(parts: Iterable[Sequence[Any]]) -> list[Any]:
    return list(chain.from_iterable(parts))


def _softmax(outputs: Tensor) -> Tensor:
    return torch.softmax(outputs, dim=-1)


_OF_KIND: dict[OutputKind, Callable[[Tensor], Tensor]] = {
    OutputKind.SEQUENCE_LOGITS: _softmax,
    OutputKind.LABEL_SET_LOGITS: torch.sigmoid,
}
