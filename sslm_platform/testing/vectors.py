"""Synthetic rows of vectors: a text as a whole, and what comes ahead of a part of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sslm_platform.interfaces import Encoded, TaskBatch

NAMES = ("example", "position", "row", "start", "end", "ahead", "labels")


def vector_targets(examples: Sequence[Encoded]) -> TaskBatch:
    """Make rows for a head of vectors: each whole text, and its first token, which looks one part ahead."""
    rows: list[tuple[int, ...]] = []
    for index, example in enumerate(examples):
        text = np.flatnonzero(~example.special_L)
        if len(text):
            first, last = int(text[0]), int(text[-1])
            rows += [
                (index, 0, index, first, last + 1, 0, -1),
                (index, 1, index, first, first + 1, 1, len(rows)),
            ]
    table = torch.tensor(rows, dtype=torch.int64).reshape(-1, len(NAMES))
    weight_B = torch.bincount(table[:, 0], minlength=len(examples)).clamp(max=1).float()
    return TaskBatch(dict(zip(NAMES, table.unbind(dim=1), strict=True)), weight_B)
