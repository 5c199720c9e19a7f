"""What ranks send each other of an evaluation: JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sslm_platform.interfaces import Scored

Gather = Callable[[Any], list[Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """Some examples of a split, by their places in it."""

    rows: np.ndarray
    scored: Scored


def to_json(part: Part) -> dict[str, Any]:
    """Return JSON content."""
    s = part.scored
    return {
        "rows": part.rows.tolist(),
        "predictions": [_plain(p) for p in s.predictions],
        "references": [_plain(r) for r in s.references],
        "losses": s.losses_N.tolist(),
        "weights": s.weights_N.tolist(),
        "scores": None if s.scores is None else [one.tolist() for one in s.scores],
    }


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def from_json(content: Mapping[str, Any]) -> Part:
    """Return what JSON content holds."""

    def restore(values: Iterable[Any]) -> list[Any]:
        return [_array(v) if isinstance(v, list) else v for v in values]

    scored = Scored(
        restore(content["predictions"]),
        restore(content["references"]),
        np.asarray(content["losses"], dtype=np.float64),
        np.asarray(content["weights"], dtype=np.float64),
        None if content["scores"] is None else [np.asarray(one) for one in content["scores"]],
    )
    return Part(np.asarray(content["rows"], dtype=np.int64), scored)


def _array(values: list[Any]) -> np.ndarray:
    return np.asarray(values) if values else np.zeros(0, dtype=np.int64)


def join_parts(parts: Sequence[Part], num_rows: int, gather: Gather | None) -> Scored:
    """Put the parts of all ranks together, in the order of the split."""
    if gather is not None:
        parts = [part for rank in gather([to_json(p) for p in parts]) for part in map(from_json, rank)]
    predictions: list[Any] = [None] * num_rows
    references: list[Any] = [None] * num_rows
    losses_N, weights_N = np.zeros(num_rows), np.zeros(num_rows)
    has_scores = bool(parts) and parts[0].scored.scores is not None
    scores: list[Any] = [None] * num_rows
    for part in parts:
        for row, one in zip(part.rows, part.scored.scores or (), strict=has_scores):
            scores[row] = one
        losses_N[part.rows] = part.scored.losses_N
        weights_N[part.rows] = part.scored.weights_N
        for row, prediction, reference in zip(
            part.rows, part.scored.predictions, part.scored.references, strict=True
        ):
            predictions[row], references[row] = prediction, reference
    return Scored(predictions, references, losses_N, weights_N, scores if has_scores else None)
