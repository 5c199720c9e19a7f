"""Several texts of one row: each a row that the encoder reads, end to end as the windows of a context are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def encode_apart(rows: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int) -> dict[str, list[Any]]:
    """Tokenize ``text``, ``answer`` and perhaps ``negatives``, each by itself.

    Returns:
        For each row the tokens of its texts end to end, in this order: ``input_ids``, ``special``,
        ``segment``; and ``window``, where each text begins.
    """
    negatives = rows.get("negatives") or [[] for _ in rows["text"]]
    texts = [[*one, *more] for *one, more in zip(rows["text"], rows["answer"], negatives, strict=True)]
    return _encoded(texts, None, tokenizer, max_length)


def encode_candidates(
    rows: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int
) -> dict[str, list[Any]]:
    """Tokenize ``text`` with each of the ``candidates``, as pairs; see :func:`encode_apart`."""
    pairs = list(zip(rows["text"], rows["candidates"], strict=True))
    return _encoded(
        [[text] * len(own) for text, own in pairs], [own for _, own in pairs], tokenizer, max_length
    )


def _encoded(
    texts: Sequence[Sequence[str]],
    seconds: Sequence[Sequence[str]] | None,
    tokenizer: Any,
    max_length: int,
) -> dict[str, list[Any]]:
    flat = [text for own in texts for text in own]
    pairs = None if seconds is None else [text for own in seconds for text in own]
    result = tokenizer(
        flat,
        pairs,
        truncation=True,
        max_length=max_length,
        return_special_tokens_mask=True,
        return_token_type_ids=True,
    )
    sources = {"input_ids": "input_ids", "special": "special_tokens_mask", "segment": "token_type_ids"}
    columns: dict[str, list[Any]] = {name: [] for name in (*sources, "window")}
    start = 0
    for own in texts:
        end = start + len(own)
        for name, source in sources.items():
            columns[name].append([token for part in result[source][start:end] for token in part])
        sizes = [len(part) for part in result["input_ids"][start:end]]
        columns["window"].append(np.cumsum([0, *sizes[:-1]]).tolist())
        start = end
    return columns
