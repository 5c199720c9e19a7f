"""Inputs to token ids: batches of raw text or words through a fast tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from sslm_platform.data.clozes import encode_clozes
from sslm_platform.data.several import encode_apart, encode_candidates
from sslm_platform.data.windows import encode_windows, encode_word_windows
from sslm_platform.data.words import mark_spans, token_bytes, word_bounds
from sslm_platform.interfaces import Encoded
from sslm_platform.spec.forms import PLAIN, InputForm

PAIRS = ("text_pair", "target_text", "target")  # second texts, one of them in an input

Encoder = Callable[[Mapping[str, Sequence[Any]], Any, int], dict[str, list[Any]]]

_TYPES = {  # of what a row is encoded to, in the order of Encodings
    "input_ids": pa.int32(),
    "special": pa.uint8(),
    "segment": pa.uint8(),
    "word_start": pa.int32(),
    "word_end": pa.int32(),
    "marker": pa.int32(),
    "window": pa.int32(),
    "offset": pa.int32(),
    "num_bytes": pa.int32(),
}


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
    """Rows as tokens: ids, special (0 or 1), segments of a pair, bounds of words, markers of spans."""

    input_ids: Ragged
    special: Ragged
    segment: Ragged | None
    word_start: Ragged | None
    word_end: Ragged | None
    marker: Ragged | None
    window: Ragged | None
    offset: Ragged | None
    num_bytes: Ragged | None

    def count(self, token_id: int) -> tuple[int, int]:
        """Return how many tokens have this id, and how many there are; special tokens apart."""
        found = total = 0
        for ids, special in zip(self.input_ids.chunks(), self.special.chunks(), strict=True):
            is_text = special == 0
            found += int(np.count_nonzero(is_text & (ids == token_id)))
            total += int(np.count_nonzero(is_text))
        return found, total

    def windows(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return how many windows each row has and the tokens of its longest one, int32; None without any."""
        if self.window is None:
            return None
        length_N, number_N = self.input_ids.lengths(), self.window.lengths()
        has_N = number_N > 0
        start_W = np.concatenate([*self.window.chunks(), np.empty(0, dtype=np.int32)])
        first_N = np.cumsum(number_N) - number_N
        end_W = np.append(start_W[1:], 0)
        end_W[(first_N + number_N - 1)[has_N]] = length_N[has_N]
        longest_N = np.zeros_like(length_N)
        if has_N.any():
            longest_N[has_N] = np.maximum.reduceat(end_W - start_W, first_N[has_N])
        return np.maximum(number_N, 1), np.where(has_N, longest_N, length_N)

    def example(self, row: int, values: Mapping[str, Any]) -> Encoded:
        """Return one row, in arrays of its own, with a task's target values."""
        return Encoded(
            input_ids_L=self.input_ids[row].astype(np.int64),
            special_L=self.special[row].astype(bool),
            values=values,
            segment_L=_copy(self.segment, row),
            word_start_W=_copy(self.word_start, row),
            word_end_W=_copy(self.word_end, row),
            marker_S=_copy(self.marker, row),
            window_S=_copy(self.window, row),
            num_bytes_L=_copy(self.num_bytes, row),
            offset_L2=None if self.offset is None else self.offset[row].astype(np.int64).reshape(-1, 2),
        )


def encode_inputs(
    columns: Mapping[str, Sequence[Any]],
    tokenizer: Any,
    max_length: int,
    form: InputForm = PLAIN,
    room: int = 0,
) -> list[Encoded]:
    """Tokenize inputs that belong to no stream, say a user's; the examples have no target values.

    Args:
        columns: ``text`` and perhaps ``text_pair`` or ``target_text``, or ``tokens``, to the values of every
            row.
        tokenizer: a fast ``transformers`` tokenizer.
        max_length: in tokens, special ones included; longer rows are truncated, if the form has no windows.
        form: how the inputs are put before the encoder.
        room: tokens of these that are kept for a ``target``.
    """
    table = pa.table(encode_batch(columns, tokenizer, max_length, form, room))
    encodings = encodings_of(table)
    return [encodings.example(row, {}) for row in range(table.num_rows)]


def encodings_of(table: pa.Table) -> Encodings:
    """Return the arrays of a table of :func:`encode_batch`'s columns; nothing is copied."""
    present = {name: Ragged(table.column(name)) for name in _TYPES if name in table.column_names}
    return Encodings(*(present.get(name) for name in _TYPES))  # type: ignore[arg-type]


def encode_batch(
    raw: Mapping[str, Sequence[Any]],
    tokenizer: Any,
    max_length: int,
    form: InputForm = PLAIN,
    room: int = 0,
) -> dict[str, pa.Array]:
    """Tokenize rows at once, to list columns; a row without its inputs is encoded as empty."""
    usable = [i for i, values in enumerate(zip(*raw.values(), strict=True)) if all(map(_is_input, values))]
    rows = {name: [values[i] for i in usable] for name, values in raw.items()}
    encode = _encoder_of(raw, form, room)
    columns = encode(rows, tokenizer, max_length) if usable else {name: [] for name in _columns(raw, form)}
    num_rows = len(next(iter(raw.values())))
    return {name: _scatter(values, usable, num_rows, _TYPES[name]) for name, values in columns.items()}


def _encoder_of(raw: Mapping[str, Sequence[Any]], form: InputForm, room: int) -> Encoder:
    if room:
        return partial(_encode_with_target, room=room)
    if form.template is not None:
        return partial(encode_clozes, template=form.template)
    if "tokens" in raw:
        return encode_word_windows if form.windows else _encode_words
    others = {"context": encode_windows, "answer": encode_apart, "candidates": encode_candidates}
    for name, encode in others.items():
        if name in raw:
            return encode
    return partial(_encode_texts, num_bytes=form.num_bytes)


def _columns(raw: Mapping[str, Sequence[Any]], form: InputForm) -> list[str]:
    """Return the columns that these inputs are encoded to."""
    names = ["input_ids", "special"]
    if "context" in raw:
        return [*names, "segment", "window", "offset"]
    if form.template is not None:
        return [*names, "marker"]
    if "answer" in raw or "candidates" in raw:
        return [*names, "segment", "window"]
    if "tokens" in raw:
        names += ["word_start", "word_end"] + ["window"] * form.windows
    names += ["num_bytes"] * form.num_bytes
    is_pair = not raw.keys().isdisjoint(PAIRS)
    return names + ["marker"] * ("spans" in raw) + ["segment"] * is_pair


def _encode_texts(
    rows: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int, *, num_bytes: bool
) -> dict[str, list[Any]]:
    pair = rows.get("text_pair", rows.get("target_text"))
    result = _tokenized(tokenizer, rows["text"], pair, max_length, return_offsets_mapping=num_bytes)
    columns = {"input_ids": result["input_ids"], "special": result["special_tokens_mask"]}
    if num_bytes:
        texts = zip(*(rows["text"], *([] if pair is None else [pair])), strict=True)
        columns["num_bytes"] = [
            token_bytes(given, result["offset_mapping"][n], result.sequence_ids(n))
            for n, given in enumerate(texts)
        ]
    return columns if pair is None else {**columns, "segment": result["token_type_ids"]}


def _encode_with_target(
    rows: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int, room: int
) -> dict[str, list[Any]]:
    """Put each target and its end after its text, which is encoded as if it stood alone.

    So the text is cut at one length, whatever the target's, and what is read to answer is what was trained.
    """
    texts = _tokenized(tokenizer, rows["text"], None, max_length - room)
    if "target" not in rows:  # to be written
        return {
            "input_ids": texts["input_ids"],
            "special": texts["special_tokens_mask"],
            "segment": texts["token_type_ids"],
        }
    targets = tokenizer(rows["target"], add_special_tokens=False, truncation=True, max_length=room)
    end = tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id
    # what is cut has no end, so that nothing learns to stop there
    ends = [[*ids, end][:room] for ids in targets["input_ids"]]
    whole = [len(ids) < room for ids in targets["input_ids"]]
    pairs = [
        (texts["input_ids"], ends),
        (
            texts["special_tokens_mask"],
            [[*([0] * (len(ids) - 1)), int(w)] for ids, w in zip(ends, whole, strict=True)],
        ),
        (texts["token_type_ids"], [[1] * len(ids) for ids in ends]),
    ]
    joined = [[[*one, *other] for one, other in zip(*pair, strict=True)] for pair in pairs]
    return dict(zip(("input_ids", "special", "segment"), joined, strict=True))


def _encode_words(rows: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int) -> dict[str, list[Any]]:
    words = rows["tokens"]
    marked = [mark_spans(*row) for row in zip(words, rows["spans"], strict=True)] if "spans" in rows else None
    shown = words if marked is None else [one.words for one in marked]
    result = _tokenized(tokenizer, shown, None, max_length, is_split_into_words=True)
    bounds = [word_bounds(result.word_ids(n), len(row)) for n, row in enumerate(shown)]
    columns = {"input_ids": result["input_ids"], "special": result["special_tokens_mask"]}
    if marked is not None:
        columns["marker"] = [b.start[one.markers] for b, one in zip(bounds, marked, strict=True)]
        bounds = [b.of(one.places) for b, one in zip(bounds, marked, strict=True)]
    return {**columns, "word_start": [b.start for b in bounds], "word_end": [b.end for b in bounds]}


def _tokenized(tokenizer: Any, first: Sequence[Any], pair: Any, max_length: int, **more: Any) -> Any:
    return tokenizer(
        first,
        pair,
        truncation=True,
        max_length=max_length,
        return_special_tokens_mask=True,
        return_token_type_ids=True,
        **more,
    )


def _is_input(value: Any) -> bool:
    if isinstance(value, dict):
        return "start" in value
    if isinstance(value, list):
        return bool(value) and all(isinstance(word, str) for word in value)
    return isinstance(value, str) and bool(value.strip())


def _scatter(values: Sequence[Any], places: Sequence[int], num_rows: int, kind: pa.DataType) -> pa.Array:
    spread: list[Any] = [[]] * num_rows
    for place, value in zip(places, values, strict=True):
        spread[place] = value
    return pa.array(spread, type=pa.list_(kind))


def _copy(ragged: Ragged | None, row: int) -> np.ndarray | None:
    return None if ragged is None else ragged[row].astype(np.int64)
