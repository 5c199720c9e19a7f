"""Name -> definition, with where each is from. Filled once by the plugin host, then frozen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from sslm_platform.errors import PluginError, Problem, suggest
from sslm_platform.types import (
    AugmenterDef,
    BalancerDef,
    Definition,
    EstimatorDef,
    ExecutorDef,
    HeadDef,
    MetricDef,
    ObjectiveDef,
    Provenance,
    SamplerDef,
    WrapperDef,
)

D = TypeVar("D", bound=Definition)


class NameCollisionError(PluginError):
    """Two plugins, or two definitions of one kind, have one name: no order of loading may decide."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[D]):
    """A definition and the plugin it came from."""

    definition: D
    provenance: Provenance


class Table(Generic[D]):
    """The definitions of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[D]] = {}
        self._frozen = False

    def add(self, definition: D, provenance: Provenance) -> None:
        """Add a definition; a second one of the same name is an error that names both distributions."""
        if self._frozen:
            raise PluginError(f"{self.kind} {definition.name!r}: the registry is frozen")
        known = self._entries.get(definition.name)
        if known is not None and known.provenance == provenance:
            raise PluginError(f"{self.kind} {definition.name!r}: defined twice")
        if known is not None:
            raise NameCollisionError(
                Problem(
                    f"{self.kind} {definition.name!r}",
                    f"defined by both {known.provenance.distribution} {known.provenance.version}"
                    f" and {provenance.distribution} {provenance.version}; uninstall one of them",
                )
            )
        self._entries[definition.name] = Entry(definition, provenance)

    def freeze(self) -> None:
        """Refuse every later ``add``."""
        self._frozen = True

    def get(self, name: str) -> Entry[D]:
        """Return the entry of that name, or raise with the nearest known name."""
        try:
            return self._entries[name]
        except KeyError:
            raise PluginError(f"unknown {self.kind} {name!r}{suggest(name, self)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


class Registry:
    """One table for each kind of definition."""

    def __init__(self) -> None:
        self.objectives: Table[ObjectiveDef] = Table("objective")
        self.wrappers: Table[WrapperDef] = Table("wrapper")
        self.heads: Table[HeadDef] = Table("head")
        self.metrics: Table[MetricDef] = Table("metric")
        self.samplers: Table[SamplerDef] = Table("sampler")
        self.balancers: Table[BalancerDef] = Table("balancer")
        self.augmenters: Table[AugmenterDef] = Table("augmenter")
        self.estimators: Table[EstimatorDef] = Table("estimator")
        self.executors: Table[ExecutorDef] = Table("executor")

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables, in the order in which people think of them."""
        return (
            self.objectives,
            self.wrappers,
            self.heads,
            self.metrics,
            self.samplers,
            self.balancers,
            self.augmenters,
            self.estimators,
            self.executors,
        )

    def freeze(self) -> None:
        """Freeze all tables."""
        for table in self.tables:
            table.freeze()
