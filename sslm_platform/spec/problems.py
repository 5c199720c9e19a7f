"""Pydantic's errors in the user's words: the place, what was expected, the nearest valid key."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from sslm_platform.errors import Problem, suggest

_TYPES = {
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def problems_of(
    error: ValidationError, kind: type[BaseModel], where: Callable[[tuple[str | int, ...]], str]
) -> list[Problem]:
    """Return one problem for each place, in order; ``where`` turns a key path into text."""
    texts: dict[tuple[str | int, ...], list[str]] = {}
    types: dict[tuple[str | int, ...], list[str]] = {}
    given: dict[tuple[str | int, ...], Any] = {}
    for item in error.errors(include_url=False):
        loc, models = _walk(kind, item["loc"])
        wanted = _wanted_type(item)
        known, text = (texts, _message(item, models)) if wanted is None else (types, wanted)
        if text not in known.setdefault(loc, []):
            known[loc].append(text)
        given.setdefault(loc, item["input"])
    problems = []
    for loc, value in given.items():
        if loc in texts:  # a branch of a union got further: that it might be of another type only distracts
            problems.append(Problem(where(loc), "; or ".join(texts[loc])))
        elif not _has_deeper(loc, given):
            problems.append(Problem(where(loc), f"should be {_either(types[loc])}; got {value!r}"))
    return problems


def _wanted_type(item: Any) -> str | None:
    """Return what a value of the wrong type should have been, or None for any other mistake."""
    if item["type"] == "literal_error" and not isinstance(item["input"], str):
        expected = str(item["ctx"]["expected"])
        return expected if expected.startswith("'") else None
    return _TYPES.get(item["type"])


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _has_deeper(loc: tuple[str | int, ...], found: Iterable[tuple[str | int, ...]]) -> bool:
    return any(len(other) > len(loc) and other[: len(loc)] == loc for other in found)


def _message(item: Any, models: Sequence[type[BaseModel]]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    key = str(item["loc"][-1]) if item["loc"] else ""
    if kind == "extra_forbidden":
        names = sorted({name for model in models for name in model.model_fields})
        what = "unknown option" if not names or models[0].__name__.endswith("Options") else "unknown key"
        return what + (suggest(key, names) if names else "; it takes none")
    if kind == "missing":
        return "is required"
    if kind == "literal_error":
        got = item["input"]
        names = [name.strip("'") for name in context["expected"].replace(" or ", ", ").split(", ")]
        return f"{got!r} is not one of {context['expected']}" + (
            suggest(got, names) if isinstance(got, str) and "mean" in suggest(got, names) else ""
        )
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = context["discriminator"].strip("'")
        if kind == "union_tag_not_found":
            return f"needs the key {tag!r}"
        names = [name.strip("' ") for name in context["expected_tags"].split(",")]
        return f"{tag} {context['tag']!r} is unknown{suggest(context['tag'], names)}"
    if kind == "value_error":
        return str(context["error"])
    message = item["msg"].removeprefix("Input ")
    return f"{message[0].lower()}{message[1:]}; got {item['input']!r}"


def _walk(kind: Any, loc: Sequence[str | int]) -> tuple[tuple[str | int, ...], list[type[BaseModel]]]:
    """Drop the union tags that pydantic adds; return the path and the models that hold its last key."""
    path: list[str | int] = []
    kinds: list[Any] = [kind]
    holders: list[type[BaseModel]] = []
    for key in loc:
        if key == "[key]":
            continue
        kinds = list(_alternatives(kinds))
        models = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        named = [m for m in models if key in (m.__name__, _tag(m))]
        containers = [k for k in kinds if get_origin(k) in (list, tuple, dict)]
        if isinstance(key, str) and not any(key in m.model_fields for m in models):
            if named:
                kinds = list(named)
                continue
            if _names_a_branch(key, kinds):
                kinds = [k for k in kinds if _branch(k) == key] or kinds
                continue
        path.append(key)
        holders = models
        kinds = [m.model_fields[key].annotation for m in models if key in m.model_fields]
        kinds += [arg for c in containers for arg in get_args(c)[-1:]]
    return tuple(path), holders


def _alternatives(kinds: Iterable[Any]) -> Iterable[Any]:
    for kind in kinds:
        origin = get_origin(kind)
        if origin is Annotated:
            yield from _alternatives(get_args(kind)[:1])
        elif origin in (Union, types.UnionType):
            yield from _alternatives(get_args(kind))
        else:
            yield kind


def _tag(model: type[BaseModel]) -> str | None:
    """Return the value of the model's discriminating literal, where it has one."""
    for name in ("source", "name"):
        field = model.model_fields.get(name)
        values = get_args(field.annotation) if field is not None else ()
        if len(values) == 1 and isinstance(values[0], str):
            return values[0]
    return None


def _branch(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (list, dict, tuple):
        return origin.__name__
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _names_a_branch(key: str, kinds: Sequence[Any]) -> bool:
    """Pydantic names the branches of a plain union ``str``, ``list[...]``, ``literal[...]``."""
    return key.split("[")[0] in {"str", "list", "dict", "literal", "tuple", "function-after", "int", "float"}
