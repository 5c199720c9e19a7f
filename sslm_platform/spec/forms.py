"""How a task's inputs are put before the encoder: cut off or in windows, alone or inside a template."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sslm_platform.errors import suggest
from sslm_platform.kinds import Field, FieldKind

MASK = "mask"
IN_TEMPLATES = ("text", "text_pair")


@dataclass(frozen=True, slots=True)
class InputForm:
    """What decides, beside the columns and the tokenizer, which tokens a row becomes.

    Attributes:
        windows: whether words beyond the encoder's length are read in windows of their own.
        template: the text around the fields, or None.
        num_bytes: whether it is noted how many bytes of the text each token stands for.
    """

    windows: bool = False
    template: str | None = None
    num_bytes: bool = False


PLAIN = InputForm()


def template_parts(template: str) -> list[tuple[str, str | None]]:
    """Return pairs of a literal text and the field that follows it, or ``mask``, or None at the end.

    Raises:
        ValueError: braces without partners.
    """
    return [(literal, name) for literal, name, _, _ in string.Formatter().parse(template)]


def num_masks(template: str | None) -> int:
    """Return how many mask tokens a template has."""
    return sum(name == MASK for _, name in template_parts(template or ""))


def template_problems(
    template: str | None,
    fields: Mapping[str, Field],
    *,
    reads_masks: bool,
    changes_input: bool,
    targets_input: bool,
) -> Iterator[str]:
    """Yield what is wrong with a task's template.

    Args:
        template: as the spec gives it.
        fields: those that the task has, by name.
        reads_masks: whether its head reads mask tokens.
        changes_input: whether its objective replaces tokens.
        targets_input: whether tokens of the input are what is to be said.
    """
    if template is None:
        if reads_masks:
            yield "its head reads mask tokens: give one, say '{text} It was {mask}.'"
        return
    try:
        names = [name for _, name in template_parts(template) if name is not None]
    except ValueError as error:
        yield f"{error}; a brace of the text itself is written twice"
        return
    inputs = [name for name, field in fields.items() if field.kind.is_input]
    if other := [name for name in inputs if fields[name].kind is not FieldKind.TEXT]:
        yield f"goes with {' and '.join(IN_TEMPLATES)}, not with {other[0]}"
        return
    if changes_input:
        yield "its objective replaces tokens of a plain text"
    elif targets_input:
        yield "its objective learns to say the tokens of a plain text"
    for name in dict.fromkeys(names):
        if name not in (*inputs, MASK):
            yield f"{{{name}}} is no field of the task{suggest(name, (*inputs, MASK))}"
    for name in inputs:
        if name not in names:
            yield f"lacks {{{name}}}, which the task reads"
    if reads_masks and MASK not in names:
        yield "lacks {mask}, which the head reads"
