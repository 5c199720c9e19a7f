"""What ranks send each other of an evaluation: JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sslm_platform.interfaces import Scored


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
        "bytes": None if s.bytes_N is None else s.bytes_N.tolist(),
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
        None if content["bytes"] is None else np.asarray(content["bytes"]),
    )
    return Part(np.asarray(content["rows"], dtype=np.int64), scored)


def _array(values: list[Any]) -> np.ndarray:
    return np.asarray(values) if values else np.zeros(0, dtype=np.int64)
