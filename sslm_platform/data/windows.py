"""What is longer than the encoder reads: a context with its question, or words, in overlapping windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sslm_platform.data.words import Bounds, word_bounds


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


def encode_word_windows(
    rows: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int
) -> dict[str, list[Any]]:
    """Tokenize sentences and documents that are split into words.

    Each window has ``max_length`` tokens at most, and two neighbours share half of what that leaves for text.

    Args:
        rows: ``tokens``.
        tokenizer: a fast ``transformers`` tokenizer.
        max_length: of a window, in tokens, special ones included.

    Returns:
        For each row the tokens of its windows end to end: ``input_ids`` and ``special``; ``window``, where
        each begins; and the bounds of each word in the window that shows most of what is around it,
        ``word_start`` and ``word_end``.
    """
    documents = list(rows["tokens"])
    room = max_length - tokenizer.num_special_tokens_to_add(pair=False)
    result = tokenizer(
        documents,
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        stride=max(0, room // 2),
        return_overflowing_tokens=True,
        return_special_tokens_mask=True,
    )
    names = ("input_ids", "special", "window", "word_start", "word_end")
    columns: dict[str, list[Any]] = {name: [[] for _ in documents] for name in names}
    bounds: list[list[Bounds]] = [[] for _ in documents]
    for index, row in enumerate(result["overflow_to_sample_mapping"]):
        columns["window"][row].append(len(columns["input_ids"][row]))
        columns["input_ids"][row] += result["input_ids"][index]
        columns["special"][row] += result["special_tokens_mask"][index]
        bounds[row].append(word_bounds(result.word_ids(index), len(documents[row])))
    for row, found in enumerate(bounds):
        best = _widest(found, np.array([*columns["window"][row], len(columns["input_ids"][row])]))
        columns["word_start"][row], columns["word_end"][row] = best.start, best.end
    return columns


def _widest(bounds: Sequence[Bounds], edge_S: np.ndarray) -> Bounds:
    """Return each word's bounds in the window with most of the word, and then most context on both sides.

    Args:
        bounds: of the words in each window, counted from where it begins.
        edge_S: where the windows begin, and where the last one ends.
    """
    start_SW, end_SW = np.stack([b.start for b in bounds]), np.stack([b.end for b in bounds])
    size_S1 = np.diff(edge_S)[:, None]
    is_there_SW = start_SW >= 0
    context_SW = np.minimum(start_SW, size_S1 - end_SW)
    rank_SW = np.where(is_there_SW, (end_SW - start_SW) * (size_S1.max() + 1) + context_SW, -1)
    best_W, words = rank_SW.argmax(axis=0), np.arange(start_SW.shape[1])
    shift_W = np.where(is_there_SW[best_W, words], edge_S[best_W], 0)
    return Bounds(start_SW[best_W, words] + shift_W, end_SW[best_W, words] + shift_W)


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
