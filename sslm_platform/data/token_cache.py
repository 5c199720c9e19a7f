"""Token ids of a split, made once and kept in an Arrow file."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from sslm_platform.data.encodings import Encodings, encode_batch, encodings_of
from sslm_platform.errors import Problem, SpecError
from sslm_platform.files import atomic_path

_ROWS_AT_ONCE = 1000
_VERSION = "1"  # of the file's content; part of its key

logger = logging.getLogger(__name__)

Inputs = tuple[tuple[str, str], ...]


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
    return encodings_of(table)


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


def _tokenize(rows: datasets.Dataset, inputs: Mapping[str, str], tokenizer: Any, max_length: int) -> pa.Table:
    logger.debug("tokenizing %d rows", len(rows))
    parts: dict[str, list[pa.Array]] = {"input_ids": [], "special": []}
    for start in range(0, max(len(rows), 1), _ROWS_AT_ONCE):
        batch = rows[start : start + _ROWS_AT_ONCE]
        raw = {field: batch.get(column, []) for field, column in inputs.items()}
        for name, array in encode_batch(raw, tokenizer, max_length).items():
            parts.setdefault(name, []).append(array)
    return pa.table({name: pa.concat_arrays(arrays) for name, arrays in parts.items()})
