"""A question and a context of any length: as many windows as it takes, with the question in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def encode_windows(
    rows: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int
) -> dict[str, list[Any]]:
    """Tokenize questions with their contexts.

    Each window has ``max_length`` tokens at most. A question of more than half of that is cut, and two
    neighbours share half of the context that such a question leaves room for.

    Args:
        rows: ``question`` and ``context``.
        tokenizer: a fast ``transformers`` tokenizer.
        max_length: of a window, in tokens, special ones included.

    Returns:
        For each row the tokens of its windows end to end: ``input_ids``, ``special``, ``segment``, ``offset``
        (characters of the context, two numbers a token, -1 where it is no part of it); and ``window``, where
        each window begins.
    """
    longest = max_length // 2
    room = max_length - longest - tokenizer.num_special_tokens_to_add(pair=True)
    questions = [_cut(question, tokenizer, longest) for question in rows["question"]]
    result = tokenizer(
        questions,
        list(rows["context"]),
        truncation="only_second",
        max_length=max_length,
        stride=max(0, room // 2),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_token_type_ids=True,
    )
    columns: dict[str, list[Any]] = {
        name: [[] for _ in questions] for name in ("input_ids", "special", "segment", "window", "offset")
    }
    for index, row in enumerate(result["overflow_to_sample_mapping"]):
        columns["window"][row].append(len(columns["input_ids"][row]))
        columns["input_ids"][row] += result["input_ids"][index]
        columns["special"][row] += result["special_tokens_mask"][index]
        columns["segment"][row] += result["token_type_ids"][index]
        columns["offset"][row] += _offsets(result["offset_mapping"][index], result.sequence_ids(index))
    return columns


def windows_of(tokens_L: np.ndarray, window_S: np.ndarray | None) -> list[np.ndarray]:
    """Split what belongs to an example's tokens at its windows; without windows it is one."""
    return [tokens_L] if window_S is None else np.split(tokens_L, window_S[1:])


def _cut(question: str, tokenizer: Any, max_tokens: int) -> str:
    """Return the beginning of a question that has this many tokens."""
    offsets = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return question if len(offsets) <= max_tokens else question[: offsets[max_tokens - 1][1]]


def _offsets(mapping: Sequence[tuple[int, int]], parts: Sequence[int | None]) -> list[int]:
    flat: list[int] = []
    for (start, end), part in zip(mapping, parts, strict=True):
        flat += [start, end] if part == 1 and end > start else [-1, -1]
    return flat
