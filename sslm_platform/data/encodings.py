"""Inputs to token ids: batches of raw text or words through a fast tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sslm_platform.interfaces import Encoded


class Ragged:
    """N arrays of different lengths: a list column of a stored table, read where it lies."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        # Offsets of a slice start anywhere in its values
        self._chunks = [(chunk.values.to_numpy(), chunk.offsets.to_numpy()) for chunk in column.chunks]
        self._starts = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])

    def __getitem__(self, row: int) -> np.ndarray:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        values, offsets = self._chunks[number]
        place = row - int(self._starts[number])
        return values[offsets[place] : offsets[place + 1]]

    def lengths(self) -> np.ndarray:
        """Return the length of each array, (N,) int32."""
        found = [np.diff(offsets) for _, offsets in self._chunks]
        return np.concatenate(found) if found else np.empty(0, dtype=np.int32)

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the arrays end to end, many at a time."""
        for values, offsets in self._chunks:
            yield values[offsets[0] : offsets[-1]]


@dataclass(frozen=True, slots=True, eq=False)
class Encodings:
    """Rows as tokens: ids, special (0 or 1), segments of a pair, first tokens of words."""

    input_ids: Ragged
    special: Ragged
    segment: Ragged | None
    word_start: Ragged | None

    def count(self, token_id: int) -> tuple[int, int]:
        """Return how many tokens have this id, and how many there are; special tokens apart."""
        found = total = 0
        for ids, special in zip(self.input_ids.chunks(), self.special.chunks(), strict=True):
            is_text = special == 0
            found += int(np.count_nonzero(is_text & (ids == token_id)))
            total += int(np.count_nonzero(is_text))
        return found, total

    def example(self, row: int, values: Mapping[str, Any]) -> Encoded:
        """Return one row, in arrays of its own, with a task's target values."""
        return Encoded(
            input_ids_L=self.input_ids[row].astype(np.int64),
            special_L=self.special[row].astype(bool),
            values=values,
            segment_L=_copy(self.segment, row),
            word_start_W=_copy(self.word_start, row),
        )


def encode_inputs(columns: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int) -> list[Encoded]:
    """Tokenize inputs that belong to no stream, say a user's; the examples have no target values.

    Args:
        columns: ``text`` and perhaps ``text_pair`` or ``target_text``, or ``tokens``, to the values of every
            row.
        tokenizer: a fast ``transformers`` tokenizer.
        max_length: in tokens, special ones included; longer rows are truncated.
    """
    table = pa.table(encode_batch(columns, tokenizer, max_length))
    encodings = encodings_of(table)
    return [encodings.example(row, {}) for row in range(table.num_rows)]


def encodings_of(table: pa.Table) -> Encodings:
    """Return the arrays of a table of :func:`encode_batch`'s columns; nothing is copied."""
    names = ("input_ids", "special", "segment", "word_start")
    present = {name: Ragged(table.column(name)) for name in names if name in table.column_names}
    return Encodings(*(present.get(name) for name in names))  # type: ignore[arg-type]


def encode_batch(raw: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int) -> dict[str, pa.Array]:
    """Tokenize rows at once, to list columns; a row without its inputs is encoded as empty."""
    words = raw.get("tokens")
    first = words if words is not None else raw["text"]
    pair = raw.get("text_pair", raw.get("target_text"))
    usable = [i for i, values in enumerate(zip(*raw.values(), strict=True)) if all(map(_is_input, values))]
    encoded: dict[str, list[Any]] = {"input_ids": [], "special_tokens_mask": [], "token_type_ids": []}
    word_starts: list[list[int]] = []
    if usable:
        result = tokenizer(
            [first[i] for i in usable],
            None if pair is None else [pair[i] for i in usable],
            is_split_into_words=words is not None,
            truncation=True,
            max_length=max_length,
            return_special_tokens_mask=True,
            return_token_type_ids=True,
        )
        encoded = {name: result[name] for name in encoded}
        if words is not None:
            word_starts = [_word_starts(result.word_ids(n), len(words[i])) for n, i in enumerate(usable)]
    arrays = {
        "input_ids": _scatter(encoded["input_ids"], usable, len(first), pa.int32()),
        "special": _scatter(encoded["special_tokens_mask"], usable, len(first), pa.uint8()),
    }
    if pair is not None:
        arrays["segment"] = _scatter(encoded["token_type_ids"], usable, len(first), pa.uint8())
    if words is not None:
        arrays["word_start"] = _scatter(word_starts, usable, len(first), pa.int32())
    return arrays


def _is_input(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(word, str) for word in value)
    return isinstance(value, str) and bool(value.strip())


def _word_starts(word_ids: Sequence[int | None], num_words: int) -> list[int]:
    """Return the position of each word's first token; -1 where it is cut off or has no token at all."""
    starts = [-1] * num_words
    for position in range(len(word_ids) - 1, -1, -1):
        word = word_ids[position]
        if word is not None:
            starts[word] = position
    return starts


def _scatter(values: Sequence[Any], places: Sequence[int], num_rows: int, kind: pa.DataType) -> pa.Array:
    spread: list[Any] = [[]] * num_rows
    for place, value in zip(places, values, strict=True):
        spread[place] = value
    return pa.array(spread, type=pa.list_(kind))


def _copy(ragged: Ragged | None, row: int) -> np.ndarray | None:
    return None if ragged is None else ragged[row].astype(np.int64)
