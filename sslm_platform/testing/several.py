"""Synthetic examples of several texts: a text with its answer and others, or with candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from sslm_platform.interfaces import Encoded, TaskBatch
from sslm_platform.kinds import Field, FieldKind, OutputKind
from sslm_platform.testing.vectors import NAMES
from sslm_platform.types import Vocabulary

NEEDS: Mapping[OutputKind, Mapping[str, Field]] = {
    OutputKind.RANKING: {
        "text": Field(FieldKind.TEXT),
        "answer": Field(FieldKind.TEXT),
        "negatives": Field(FieldKind.TEXTS),
    },
    OutputKind.CHOICE_LOGITS: {
        "text": Field(FieldKind.TEXT),
        "candidates": Field(FieldKind.TEXTS),
        "choice": Field(FieldKind.CHOICE),
    },
}
NUM_CANDIDATES = 14


def make_example(
    needs: Mapping[str, Field], rng: np.random.Generator, vocabulary: Vocabulary, around: tuple[int, int]
) -> Encoded:
    """Make an example of two to four texts, special tokens around each; in a pair, between them too."""
    start_id, end_id = around
    is_choice = any(field.kind is FieldKind.CHOICE for field in needs.values())

    def words() -> list[int]:
        return rng.integers(len(vocabulary.special_ids), vocabulary.size, int(rng.integers(1, 7))).tolist()

    texts = [words() for _ in range(int(rng.integers(2, 5)))]
    shared = words()
    rows = [
        [start_id, *shared, end_id, *text, end_id] if is_choice else [start_id, *text, end_id]
        for text in texts
    ]
    ids = np.array([token for row in rows for token in row])
    segments = [np.arange(len(row)) > len(shared) + 1 if is_choice else np.zeros(len(row)) for row in rows]
    return Encoded(
        ids,
        np.isin(ids, around),
        {name: int(rng.integers(len(rows))) for name, f in needs.items() if f.kind is FieldKind.CHOICE},
        np.concatenate(segments).astype(np.int64),
        window_S=np.cumsum([0, *(len(row) for row in rows[:-1])]),
    )


def several_targets(kind: OutputKind, examples: Sequence[Encoded]) -> TaskBatch:
    """Make the rows that a head may count on: of each text, or of each candidate."""
    table: list[tuple[int, ...]] = []
    for index, example in enumerate(examples):
        assert example.window_S is not None, "several texts are windows"
        sizes = np.diff([*example.window_S, len(example.input_ids_L)]).tolist()
        for position, size in enumerate(sizes):
            label = len(table) + 1 if position == 0 else -1
            table.append((index, position, len(table), 1, size - 1, 0, label))
    tensor = torch.tensor(table, dtype=torch.int64).reshape(-1, len(NAMES))
    return TaskBatch(dict(zip(NAMES, tensor.unbind(dim=1), strict=True)), torch.ones(len(examples)))


def make_reference(rng: np.random.Generator) -> np.ndarray:
    """Make one or two right ones of some candidates, rising."""
    return np.sort(rng.choice(NUM_CANDIDATES, size=int(rng.integers(1, 3)), replace=False))


def make_prediction(reference: np.ndarray, accuracy: float, rng: np.random.Generator) -> np.ndarray:
    """Rank the candidates: the right ones first, or else last."""
    others = np.setdiff1d(rng.permutation(NUM_CANDIDATES), reference)
    is_right = rng.random() < accuracy
    return np.concatenate([reference, others] if is_right else [others, reference])
