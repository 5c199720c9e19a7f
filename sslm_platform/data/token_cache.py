"""Token ids of a split, made once and kept in an Arrow file."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from sslm_platform.data.encodings import Encodings, encode_batch, encodings_of
from sslm_platform.data.tables import row_batches, stored_table, table_path
from sslm_platform.errors import Problem, SpecError
from sslm_platform.spec.forms import PLAIN, InputForm

_VERSION = 6  # of the table's content; part of its key

logger = logging.getLogger(__name__)

Inputs = tuple[tuple[str, str], ...]


def encode_rows(
    rows: datasets.Dataset,
    inputs: Inputs,
    tokenizer: Any,
    max_length: int,
    form: InputForm = PLAIN,
    *,
    key: Sequence[str],
    cache: Path,
    room: int = 0,
) -> Encodings:
    """Tokenize all rows of a split, or open what an earlier run made of them.

    Args:
        rows: the split.
        inputs: (field, column) pairs: ``text`` and perhaps ``text_pair``, or ``tokens``
            and perhaps ``spans``. A row without
            them is encoded as empty.
        tokenizer: a fast ``transformers`` tokenizer.
        max_length: in tokens, special ones included; longer rows are truncated.
        form: how the inputs are put before the encoder.
        key: what identifies the rows and the tokenizer.
        cache: folder of all caches.
        room: tokens that are kept for a target which is encoded too.
    """
    path = table_path(cache, "tokens", _VERSION, *key, inputs, max_length, asdict(form), room)
    how = (dict(inputs), tokenizer, max_length, form, room)
    return encodings_of(stored_table(path, lambda: _tokenize(rows, *how)))


def tokenizer_digest(tokenizer: Any) -> str:
    """Return the SHA-256 of what the tokenizer does: its model, its rules and its special tokens.

    Raises:
        SpecError: the tokenizer is not a fast one.
    """
    if not getattr(tokenizer, "is_fast", False):
        name = type(tokenizer).__name__
        raise SpecError(Problem("encoder", f"{name} is no fast tokenizer; the folder needs a tokenizer.json"))
    facts = (tokenizer.truncation_side, tuple(sorted(tokenizer.all_special_ids)))
    return _digest(tokenizer.backend_tokenizer.to_str(), facts)


@lru_cache(maxsize=8)
def _digest(serialized: str, facts: tuple[Any, ...]) -> str:
    content = json.loads(serialized)
    for volatile in ("truncation", "padding"):  # left over from the last call
        content.pop(volatile, None)
    return hashlib.sha256(json.dumps([content, facts], sort_keys=True).encode()).hexdigest()


def _tokenize(
    rows: datasets.Dataset,
    inputs: Mapping[str, str],
    tokenizer: Any,
    max_length: int,
    form: InputForm,
    room: int,
) -> Iterator[pa.RecordBatch]:
    logger.debug("tokenizing %d rows", len(rows))
    for batch in row_batches(rows, inputs.values()):
        raw = {field: batch[column] for field, column in inputs.items()}
        yield pa.RecordBatch.from_pydict(encode_batch(raw, tokenizer, max_length, form, room))
