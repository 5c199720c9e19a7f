"""A task's fields against those that its objective reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from sslm_platform.errors import Problem, suggest
from sslm_platform.kinds import Field, FieldKind
from sslm_platform.spec.schema import FieldSpec, TaskSpec

FIELD_OPTIONS = {
    FieldKind.LABEL: {"bins", "map"},
    FieldKind.CHOICE: {"map"},
    FieldKind.LABELS: {"map", "separator"},
    FieldKind.TAGS: {"scheme", "map"},
}


def field_problems(spec: TaskSpec, needs: Mapping[str, Field], where: str) -> Iterator[Problem]:
    """Yield what is wrong with a task's fields, given those that its objective reads.

    Args:
        spec: of the task.
        needs: the objective's fields, by name.
        where: key path of the task.
    """
    inputs = [name for name in spec.fields if name in needs and needs[name].kind.is_input]
    for name, other in (("spans", "tokens"), ("text_pair", "text")):
        if name in inputs and other not in inputs:
            yield Problem(f"{where}.fields.{name}", f"goes with {other}")
    for name in spec.fields:
        if name not in needs:
            yield Problem(f"{where}.fields.{name}", f"unknown field{suggest(name, needs)}")
    others = {field.instead_of: name for name, field in needs.items() if field.instead_of}
    for name, field in needs.items():
        if field.instead_of and field.instead_of in spec.fields and name in spec.fields:
            yield Problem(f"{where}.fields", f"give {field.instead_of} or {name}, not both")
        required = field.required and not field.instead_of and others.get(name) not in spec.fields
        if required and name not in spec.fields:
            other = f" or {others[name]} ({needs[others[name]].kind})" if name in others else ""
            yield Problem(
                f"{where}.fields",
                f"objective {spec.objective.name} needs the field {name} ({field.kind}){other}",
            )
        given = spec.fields.get(name)
        if isinstance(given, FieldSpec):
            yield from _option_problems(given, field, f"{where}.fields.{name}")


def _option_problems(given: FieldSpec, field: Field, where: str) -> Iterator[Problem]:
    kind = field.kind
    allowed = {"max_tokens"} if field.read else FIELD_OPTIONS.get(kind, set())
    for option in sorted(given.model_fields_set - {"column"} - allowed):
        yield Problem(f"{where}.{option}", f"does not apply to a field of kind {kind}")
    if given.bins is not None and given.map is not None:
        yield Problem(where, "give bins or map, not both")
    for label, (low, high) in (given.bins or {}).items():
        if low > high:
            yield Problem(f"{where}.bins.{label}", f"{low} > {high}: an interval is [low, high]")
    intervals = sorted((low, high, label) for label, (low, high) in (given.bins or {}).items())
    for (_, high, first), (low, _, second) in pairwise(intervals):
        if low <= high:
            yield Problem(f"{where}.bins", f"{first} and {second} overlap at {low}")
