"""Synthetic questions whose answers are spans of a context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sslm_platform.interfaces import Encoded, TaskBatch
from sslm_platform.kinds import Field, FieldKind

NEEDS = {
    "question": Field(FieldKind.TEXT),
    "context": Field(FieldKind.TEXT),
    "answers": Field(FieldKind.ANSWERS),
}


def make_reference(words: Sequence[str], rng: np.random.Generator) -> dict[str, Any]:
    """Make a context of these words; two times out of three one or two of them are the answer."""
    context = " ".join(words)
    if rng.random() < 1 / 3:
        return {"context": context, "answers": []}
    first = int(rng.integers(len(words)))
    text = " ".join(words[first : first + 2])
    return {"context": context, "answers": [{"text": text, "start": len(" ".join(["", *words[:first]]))}]}


def make_prediction(reference: dict[str, Any], accuracy: float, rng: np.random.Generator) -> np.ndarray:
    """Make the right span, or "no answer", or else the other of the two."""
    is_right = rng.random() < accuracy
    if bool(reference["answers"]) != is_right:
        return np.array([-1, -1])
    answers = reference["answers"] or [{"start": 0, "text": reference["context"]}]
    return np.array([answers[0]["start"], answers[0]["start"] + len(answers[0]["text"])])


def offsets_of(words: Sequence[str], num_tokens: int) -> np.ndarray:
    """Return each token's characters, (L, 2), where the words are the tokens before the last one."""
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    offset_L2 = np.full((num_tokens, 2), -1)
    offset_L2[-1 - len(words) : -1] = np.column_stack([ends - [len(word) for word in words], ends])
    return offset_L2


def span_targets(examples: Sequence[Encoded]) -> TaskBatch:
    """Make the rows that a head of spans may count on: each token of the context, and the first of all."""
    rows = []
    for index, example in enumerate(examples):
        assert example.offset_L2 is not None
        for position, (start, end) in enumerate(example.offset_L2.tolist()):
            if start >= 0 or position == 0:
                rows.append((index, index, position, start, end, 0))
    names = ("example", "row", "position", "start", "end", "labels")
    table = torch.tensor(rows, dtype=torch.int64).reshape(-1, len(names))
    return TaskBatch(dict(zip(names, table.unbind(dim=1), strict=True)), torch.ones(len(examples)))
