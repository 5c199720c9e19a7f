"""One raw value to one value of a field's kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import datasets

from sslm_platform.data.tags import rename_types, to_bio
from sslm_platform.kinds import FieldKind
from sslm_platform.spec.schema import FieldSpec

Parser = Callable[[Any], Any]


class UnusableError(ValueError):
    """A value that is not of the field's kind."""


def value_parser(kind: FieldKind, spec: FieldSpec, feature: Any) -> Parser:
    """Return the function from a raw value to the field's value, or None where the row has none.

    Args:
        kind: the field's kind.
        spec: with ``bins``, ``map`` and ``scheme``.
        feature: the column's feature; class labels are turned into their names.
    """
    match kind:
        case FieldKind.TEXT | FieldKind.TARGET_TEXT:
            return _text
        case FieldKind.TOKENS:
            return _tokens
        case FieldKind.TEXTS:
            return _texts
        case FieldKind.CHOICE:
            return lambda raw: _choice(raw, spec)
        case FieldKind.ANSWERS:
            return _answers
        case FieldKind.SPANS:
            return spans_of
        case FieldKind.VALUE:
            return _value
        case FieldKind.TAGS:
            names = _class_names(getattr(feature, "feature", None))
            return lambda raw: _tags(raw, spec, names)
        case FieldKind.LABELS:
            names = _class_names(getattr(feature, "feature", None))
            return lambda raw: _labels(raw, spec, names)
        case FieldKind.LABEL if spec.bins is not None:
            return lambda raw: _bin(raw, spec.bins or {})
        case FieldKind.LABEL:
            names = _class_names(feature)
            return lambda raw: _label(raw, spec, names)


def _text(raw: Any) -> str | None:
    if raw is None:
        return None
    if not isinstance(raw, str):
        raise UnusableError(f"{raw!r} is {_kind(raw)}; expected text")
    return raw if raw.strip() else None


def _tokens(raw: Any) -> list[str] | None:
    if raw is None:
        return None
    if not isinstance(raw, list) or not all(isinstance(token, str) for token in raw):
        raise UnusableError(f"{_short(raw)} is {_kind(raw)}; expected a list of words")
    return raw or None


def _texts(raw: Any) -> list[str] | None:
    if raw is None:
        return None
    if not isinstance(raw, list) or not all(isinstance(text, str) for text in raw):
        raise UnusableError(f"{_short(raw)} is {_kind(raw)}; expected a list of texts")
    return raw if raw and all(text.strip() for text in raw) else None


def _choice(raw: Any, spec: FieldSpec) -> int | None:
    if raw is None or raw == "":
        return None
    if spec.map is not None:
        raw = spec.map.get(str(raw))
        if raw is None:
            return None
    place = str(raw)
    if not place.isdecimal():
        raise UnusableError(f"{_short(raw)} is no place from 0; map can name one")
    return int(place)


def _answers(raw: Any) -> list[dict[str, Any]] | None:
    if raw is None:
        return None
    if not isinstance(raw, list) or not all(isinstance(one, dict) for one in raw):
        raise UnusableError(f"{_short(raw)} is {_kind(raw)}; expected a list of answers")
    if not all(isinstance(one.get("text"), str) and isinstance(one.get("start"), int) for one in raw):
        raise UnusableError(f"{_short(raw)} has no text and start (in characters) of each answer")
    return [{"text": one["text"], "start": one["start"]} for one in raw]


def spans_of(raw: Any) -> dict[str, list[Any]] | None:
    """Return two spans, ``start`` and ``end`` (exclusive) in words, and their types where there are any."""
    if raw is None:
        return None
    if not isinstance(raw, dict) or not {"start", "end"} <= raw.keys():
        raise UnusableError(f"{_short(raw)} is no pair of spans; expected start: [i, j], end: [k, l]")
    starts, ends, types = raw["start"], raw["end"], raw.get("type")
    if any(not isinstance(part, list) or len(part) != 2 for part in (starts, ends, types or [0, 0])):
        raise UnusableError(f"{_short(raw)} has not two spans; start, end and type are lists of two")
    if not all(0 <= start < end for start, end in zip(starts, ends, strict=True)):
        raise UnusableError(f"{_short(raw)} has an empty span; a span is [start, end) in words")
    return raw


def _value(raw: Any) -> float | None:
    if raw is None or raw == "":
        return None
    try:
        value = float(raw)
    except (TypeError, ValueError):
        raise UnusableError(f"{_short(raw)} is {_kind(raw)}; expected a number") from None
    if not math.isfinite(value):
        raise UnusableError(f"{value} is not finite")
    return value


def _bin(raw: Any, bins: dict[str, tuple[float, float]]) -> str | None:
    value = _value(raw)
    if value is None:
        return None
    return next((label for label, (low, high) in bins.items() if low <= value <= high), None)


def _label(raw: Any, spec: FieldSpec, names: list[str] | None) -> str | None:
    if raw is None or raw == "":
        return None
    if not isinstance(raw, str | int | float):
        raise UnusableError(f"{_short(raw)} is {_kind(raw)}; expected a label")
    label = _named(raw, names)
    return label if spec.map is None else spec.map.get(label)


def _labels(raw: Any, spec: FieldSpec, names: list[str] | None) -> list[str] | None:
    if isinstance(raw, str) and spec.separator is not None:
        raw = [part.strip() for part in raw.split(spec.separator) if part.strip()]
    if raw is None:
        return None
    if not isinstance(raw, list):
        hint = "" if spec.separator else "; of text, set separator"
        raise UnusableError(f"{_short(raw)} is {_kind(raw)}; expected a list of labels{hint}")
    labels = {_label(one, spec, names) for one in raw}
    return sorted(label for label in labels if label is not None)


def _tags(raw: Any, spec: FieldSpec, names: list[str] | None) -> list[str] | None:
    if raw is None:
        return None
    if not isinstance(raw, list):
        raise UnusableError(f"{_short(raw)} is {_kind(raw)}; expected a list of tags")
    try:
        tags = to_bio([_named(tag, names) for tag in raw], spec.scheme) or None
    except ValueError as error:
        raise UnusableError(str(error)) from None
    return tags if tags is None or spec.map is None else rename_types(tags, spec.map)


def _named(raw: Any, names: list[str] | None) -> str:
    if names is None:
        return str(raw)
    if not 0 <= raw < len(names):
        raise UnusableError(f"{raw} is no class; the data set names 0 to {len(names) - 1}")
    return names[raw]


def _class_names(feature: Any) -> list[str] | None:
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) else None


def _kind(raw: Any) -> str:
    return {str: "text", int: "a number", float: "a number", list: "a list", dict: "a mapping"}.get(
        type(raw), type(raw).__name__
    )


def _short(raw: Any) -> str:
    text = repr(raw)
    return text if len(text) <= 60 else text[:57] + "…"
