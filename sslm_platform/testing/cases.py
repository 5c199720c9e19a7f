"""A definition under test, with the options and the kind of output to test it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sslm_platform.kinds import OutputKind
from sslm_platform.types import (
    Definition,
    EstimatorDef,
    HeadDef,
    MetricDef,
    ObjectiveDef,
    Options,
    WrapperDef,
)

D = TypeVar("D", bound=Definition)


@dataclass(frozen=True, slots=True)
class Case(Generic[D]):
    """One definition, built anew by each check."""

    definition: D
    options: Mapping[str, Any] = field(default_factory=dict)
    emits: OutputKind | None = None

    @property
    def kind(self) -> OutputKind:
        """The kind of output, of definitions that have one."""
        assert self.emits is not None, f"{self.definition.name} has no output kind"
        return self.emits

    def parsed_options(self) -> Options:
        """Return the validated options."""
        return self.definition.options.model_validate(dict(self.options))


def cases_of(definition: D, options: Mapping[str, Any]) -> list[Case[D]]:
    """Return a case for each kind of output that the definition works with, or one without kind."""
    if isinstance(definition, HeadDef):
        return [Case(definition, options, definition.emits)]
    if isinstance(definition, ObjectiveDef):
        return [Case(definition, options, kind) for kind in definition.needs]
    if isinstance(definition, MetricDef):
        return [Case(definition, options, kind) for kind in sorted(definition.accepts)]
    if isinstance(definition, WrapperDef):
        return [Case(definition, options, kind) for kind in sorted(definition.kinds)]
    if isinstance(definition, EstimatorDef):
        return [Case(definition, options, kind) for kind in sorted(definition.targets)]
    return [Case(definition, options)]
