"""Weights of labels: as a spec gives them, or from the training split."""

from __future__ import annotations

import torch
from torch import Tensor

from sslm_objectives.options import Weights
from sslm_platform.api import ObjectiveContext, Problem, SpecError, suggest


def class_weights(given: Weights | None, context: ObjectiveContext) -> Tensor:
    """Return (K,) weights of the context's labels.

    ``balanced`` is n / (K n_k) over the K labels that the training split has (King & Zeng 2001, section 4.2;
    scikit-learn's ``class_weight``); a label that it lacks weighs 1.
    """
    if given == "balanced":
        present = [count for count in context.label_counts if count]
        mean = sum(present) / max(1, len(present))
        return torch.tensor([mean / count if count else 1.0 for count in _counts(context)])
    return _named(given or {}, context, "class_weights")


def positive_weights(given: Weights | None, context: ObjectiveContext) -> Tensor:
    """Return (K,) factors of positive examples; ``balanced`` is (n - n_k) / n_k, 1 where either is 0."""
    if given == "balanced":
        pairs = [(context.num_train - count, count) for count in _counts(context)]
        return torch.tensor([absent / count if absent > 0 and count else 1.0 for absent, count in pairs])
    return _named(given or {}, context, "positive_weights")


def _counts(context: ObjectiveContext) -> tuple[int, ...]:
    return context.label_counts or (0,) * len(context.labels)


def _named(given: dict[str, float] | str, context: ObjectiveContext, option: str) -> Tensor:
    assert isinstance(given, dict), given
    unknown = [name for name in given if name not in context.labels]
    if unknown:
        raise SpecError(
            *(
                Problem(f"{option}.{name}", f"no such label{suggest(name, context.labels)}")
                for name in unknown
            )
        )
    return torch.tensor([given.get(label, 1.0) for label in context.labels])
