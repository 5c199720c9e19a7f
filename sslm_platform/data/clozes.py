"""Texts inside a template with mask tokens: what is too long is cut in the fields, never in the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sslm_platform.errors import DataError, Problem, SpecError
from sslm_platform.spec.forms import MASK, template_parts

Span = tuple[int, int]  # characters, [start, end)


def encode_clozes(
    rows: Mapping[str, Sequence[str]], tokenizer: Any, max_length: int, template: str
) -> dict[str, list[Any]]:
    """Tokenize a template with each row's fields in it.

    What exceeds ``max_length`` is taken off the end of the field that has most tokens.

    Args:
        rows: the fields that the template names.
        tokenizer: a fast ``transformers`` tokenizer.
        max_length: in tokens, special ones included.
        template: literal text with ``{field}`` and ``{mask}``.

    Returns:
        ``input_ids`` and ``special`` of each row, and ``marker``, the positions of its masks.

    Raises:
        SpecError: the tokenizer has no mask token.
        DataError: the template alone is too long.
    """
    parts = template_parts(template)
    if tokenizer.mask_token is None and any(name == MASK for _, name in parts):
        raise SpecError(Problem("encoder", "the template has {mask}, and the tokenizer no mask token"))
    num_rows = len(next(iter(rows.values())))
    values = [{name: column[row] for name, column in rows.items()} for row in range(num_rows)]
    columns: dict[str, list[Any]] = {n: [[]] * num_rows for n in ("input_ids", "special", "marker")}
    left = list(range(num_rows))
    while left:
        filled = [_fill(parts, values[row], tokenizer.mask_token) for row in left]
        found = tokenizer(
            [text for text, _, _ in filled], return_offsets_mapping=True, return_special_tokens_mask=True
        )
        too_long = []
        for number, (row, (_, spans, masks)) in enumerate(zip(left, filled, strict=True)):
            ids, offsets = found["input_ids"][number], found["offset_mapping"][number]
            if len(ids) > max_length:
                values[row] = _shortened(values[row], spans, offsets, len(ids) - max_length)
                too_long.append(row)
                continue
            columns["input_ids"][row] = ids
            columns["special"][row] = found["special_tokens_mask"][number]
            columns["marker"][row] = [_mask_at(mask, ids, offsets, tokenizer.mask_token_id) for mask in masks]
        left = too_long
    return columns


def _fill(
    parts: Sequence[tuple[str, str | None]], values: Mapping[str, str], mask: str
) -> tuple[str, dict[str, Span], list[Span]]:
    """Return the whole text, where each field is in it (first), and where its masks are."""
    text, spans, masks = "", dict[str, Span](), list[Span]()
    for literal, name in parts:
        text += literal
        if name is not None:
            value = mask if name == MASK else values[name]
            span = (len(text), len(text) + len(value))
            text += value
            if name == MASK:
                masks.append(span)
            else:
                spans.setdefault(name, span)
    return text, spans, masks


def _shortened(
    values: Mapping[str, str], spans: Mapping[str, Span], offsets: Sequence[Span], excess: int
) -> dict[str, str]:
    inside = {
        name: [(s, e) for s, e in offsets if start <= s < e <= end] for name, (start, end) in spans.items()
    }
    name = max(inside, key=lambda field: (len(inside[field]), len(values[field])))
    value, tokens = values[name], inside[name]
    if not value:
        raise DataError("a task's template alone is longer than encoder.max_length")
    kept = max(0, len(tokens) - excess)
    end = tokens[kept - 1][1] - spans[name][0] if kept else 0
    return {**values, name: value[: min(end, len(value) - 1)]}


def _mask_at(mask: Span, ids: Sequence[int], offsets: Sequence[Span], mask_id: int) -> int:
    """Return the position of a mask; a text may have the mask token's name in it too."""
    pairs = enumerate(zip(ids, offsets, strict=True))
    return next(i for i, (token, (s, e)) in pairs if token == mask_id and s < mask[1] and e > mask[0])
