"""Texts, or parts of them, as rows that the encoder reads by themselves, and targets that name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sslm_platform.api import Encoded

Span = tuple[int, int]


def text_span(example: Encoded) -> Span:
    """Return where an example's text begins and ends; special tokens around it are left out."""
    places = np.flatnonzero(~example.special_L.astype(bool))
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def excerpt(example: Encoded, span: Span) -> np.ndarray:
    """Return the ids of a part of a text, with the special tokens of the whole around it."""
    first, last = text_span(example)
    ids_L = example.input_ids_L
    return np.concatenate([ids_L[:first], ids_L[span[0] : span[1]], ids_L[last:]])


@dataclass(slots=True)
class Readings:
    """The rows of a batch's examples, and the targets' rows, in the making.

    A target's row is a span of tokens of one of the rows that the encoder reads.
    """

    ids: list[list[np.ndarray]] = field(default_factory=list)  # of each example's rows
    calls: list[list[int]] = field(default_factory=list)
    targets: dict[str, list[int]] = field(default_factory=dict)
    num_rows: int = 0
    _num_targets: int = 0  # of the last example

    def start_example(self) -> None:
        """Begin with the next example."""
        self.ids.append([])
        self.calls.append([])
        self._num_targets = 0

    def read(self, ids_L: np.ndarray, call: int) -> int:
        """Add a row to the example; return its number in the batch."""
        self.ids[-1].append(ids_L)
        self.calls[-1].append(call)
        self.num_rows += 1
        return self.num_rows - 1

    def target(self, row: int, span: Span, label: int = -1, ahead: int = 0) -> int:
        """Add a row of targets: ``label`` is the row of targets that it is to find. Return its number."""
        found = {
            "example": len(self.ids) - 1,
            "position": self._num_targets,
            "row": row,
            "start": span[0],
            "end": span[1],
            "ahead": ahead,
            "labels": label,
        }
        for name, value in found.items():
            self.targets.setdefault(name, []).append(value)
        self._num_targets += 1
        return len(self.targets["labels"]) - 1

    def tensors(self) -> dict[str, Tensor]:
        """Return the targets, (N,) int64 each."""
        names = ("example", "position", "row", "start", "end", "ahead", "labels")
        return {name: torch.tensor(self.targets.get(name, []), dtype=torch.int64) for name in names}

    def input_ids(self) -> list[np.ndarray]:
        """Return each example's rows end to end."""
        return [np.concatenate(rows) for rows in self.ids]

    def windows(self) -> list[np.ndarray]:
        """Return where each example's rows begin in them."""
        return [np.cumsum([0, *(len(row) for row in rows[:-1])]) for rows in self.ids]

    def segments(self) -> list[np.ndarray]:
        """Return zeros: each row is one text."""
        return [np.zeros(sum(len(row) for row in rows), dtype=np.int64) for rows in self.ids]

    def call_numbers(self) -> Sequence[np.ndarray]:
        """Return which encoder call reads each row."""
        return [np.array(calls, dtype=np.int64) for calls in self.calls]
