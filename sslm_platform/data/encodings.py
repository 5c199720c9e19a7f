"""Token ids of a split, made once and kept in an Arrow file."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from sslm_platform.errors import Problem, SpecError
from sslm_platform.files import atomic_path

_ROWS_AT_ONCE = 1000
_VERSION = "1"  # of the file's content; part of its key

logger = logging.getLogger(__name__)

Inputs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """N arrays of different lengths, end to end; ``offsets_N`` has N + 1 entries."""

    values: np.ndarray
    offsets_N: np.ndarray

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets_N[row] : self.offsets_N[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Length of each array, (N,) int64."""
        return np.diff(self.offsets_N).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Encodings:
    """Every row of a split as tokens: ids, special (0 or 1), segments of a pair, first tokens of words."""

    input_ids: Ragged
    special: Ragged
    segment: Ragged | None
    word_start: Ragged | None


def encode_rows(
    rows: datasets.Dataset,
    inputs: Inputs,
    tokenizer: Any,
    max_length: int,
    *,
    key: Sequence[str],
    cache: Path,
) -> Encodings:
    """Tokenize all rows of a split, or open what an earlier run made of them.

    Args:
        rows: the split.
        inputs: (field, column) pairs: ``text`` and perhaps ``text_pair``, or ``tokens``. A row without
            them is encoded as empty.
        tokenizer: a fast ``transformers`` tokenizer.
        max_length: in tokens, special ones included; longer rows are truncated.
        key: what identifies the rows and the tokenizer.
        cache: folder of all caches.
    """
    facts = [_VERSION, *key, list(inputs), max_length]
    path = cache / "tokens" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]}.arrow"
    table = _open(path, len(rows))
    if table is None:
        table = _tokenize(rows, dict(inputs), tokenizer, max_length)
        with (
            atomic_path(path) as aside,
            pa.OSFile(str(aside), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as out,
        ):
            out.write_table(table)
    return Encodings(*(_ragged(table, name) for name in ("input_ids", "special", "segment", "word_start")))  # type: ignore[arg-type]


def tokenizer_digest(tokenizer: Any) -> str:
    """Return the SHA-256 of what the tokenizer does: its model, its rules and its special tokens.

    Raises:
        SpecError: the tokenizer is not a fast one.
    """
    if not getattr(tokenizer, "is_fast", False):
        name = type(tokenizer).__name__
        raise SpecError(Problem("encoder", f"{name} is no fast tokenizer; the folder needs a tokenizer.json"))
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    for volatile in ("truncation", "padding"):  # left over from the last call
        content.pop(volatile, None)
    facts = [content, tokenizer.truncation_side, sorted(tokenizer.all_special_ids)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _open(path: Path, num_rows: int) -> pa.Table | None:
    if not path.exists():
        return None
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        logger.warning("%s is damaged (%s); tokenizing again", path, error)
        return None
    return table if table.num_rows == num_rows else None


def _ragged(table: pa.Table, name: str) -> Ragged | None:
    if name not in table.column_names:
        return None
    column = table.column(name).combine_chunks()
    array = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    return Ragged(array.values.to_numpy(), array.offsets.to_numpy())


def _tokenize(rows: datasets.Dataset, inputs: Mapping[str, str], tokenizer: Any, max_length: int) -> pa.Table:
    logger.info("tokenizing %d rows", len(rows))
    parts: dict[str, list[pa.Array]] = {"input_ids": [], "special": []}
    for start in range(0, max(len(rows), 1), _ROWS_AT_ONCE):
        batch = rows[start : start + _ROWS_AT_ONCE]
        raw = {field: batch.get(column, []) for field, column in inputs.items()}
        for name, array in _encode_batch(raw, tokenizer, max_length).items():
            parts.setdefault(name, []).append(array)
    return pa.table({name: pa.concat_arrays(arrays) for name, arrays in parts.items()})


def _encode_batch(raw: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int) -> dict[str, pa.Array]:
    words = raw.get("tokens")
    first = words if words is not None else raw["text"]
    pair = raw.get("text_pair")
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
