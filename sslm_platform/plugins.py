"""The plugin host: finds plugins through entry points, checks what they return, records what failed."""

from __future__ import annotations

import importlib.metadata
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pluggy

from sslm_platform import hookspecs
from sslm_platform.errors import PluginError, Problem, suggest
from sslm_platform.registry import Registry, Table
from sslm_platform.types import (
    BalancerDef,
    Definition,
    HeadDef,
    MetricDef,
    ObjectiveDef,
    Options,
    Provenance,
    SamplerDef,
)

GROUP = "sslm_platform"

_REGISTRATION: dict[str, tuple[str, type[Any]]] = {
    "sslm_objectives": ("objectives", ObjectiveDef),
    "sslm_heads": ("heads", HeadDef),
    "sslm_metrics": ("metrics", MetricDef),
    "sslm_samplers": ("samplers", SamplerDef),
    "sslm_balancers": ("balancers", BalancerDef),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A plugin that could not be used, with the reason and, where there is one, its traceback."""

    provenance: Provenance
    reason: str
    traceback: str = ""


@dataclass(slots=True)
class Host:
    """Loaded plugins, their definitions, and the plugins that failed."""

    manager: pluggy.PluginManager
    registry: Registry = field(default_factory=Registry)
    loaded: list[Provenance] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def get(self, table: Table, name: str) -> Any:
        """Return a table's entry; when the name is unknown, say which plugins failed to load."""
        try:
            return table.get(name)
        except PluginError as error:
            failed = "".join(
                f"; plugin {f.provenance.plugin!r} ({f.provenance.distribution}"
                f" {f.provenance.version}) failed to load: {f.reason}"
                for f in self.failures
            )
            raise PluginError(f"{error}{failed}") from None


@lru_cache(maxsize=1)
def host() -> Host:
    """Return this process's plugin host, loaded from the installed entry points."""
    return load_plugins(importlib.metadata.distributions())


def load_plugins(distributions: Iterable[importlib.metadata.Distribution]) -> Host:
    """Load every entry point of the group; a plugin that fails is recorded, not raised.

    Raises:
        PluginError: two plugins or two definitions have one name.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    result = Host(manager)
    found: dict[str, Provenance] = {}
    for entry, provenance in sorted(_entry_points(distributions), key=lambda pair: pair[0].name):
        if entry.name in found:
            raise PluginError(
                Problem(
                    f"plugin {entry.name!r}",
                    f"defined by both {found[entry.name].distribution} and"
                    f" {provenance.distribution}; uninstall one of them",
                )
            )
        found[entry.name] = provenance
        _load(result, entry, provenance)
    result.registry.freeze()
    return result


def _entry_points(
    distributions: Iterable[importlib.metadata.Distribution],
) -> Iterable[tuple[importlib.metadata.EntryPoint, Provenance]]:
    seen: set[str] = set()
    for distribution in distributions:
        name = distribution.metadata["Name"]
        if name is None or name in seen:  # the first on sys.path wins, as in import
            continue
        seen.add(name)
        for entry in distribution.entry_points:
            if entry.group == GROUP:
                yield entry, Provenance(entry.name, name, distribution.version)


def _load(result: Host, entry: importlib.metadata.EntryPoint, provenance: Provenance) -> None:
    try:
        plugin = entry.load()
    except Exception as error:  # whatever a stranger's import raises must not stop the others
        reason = f"{type(error).__name__}: {error}"
        result.failures.append(Failure(provenance, reason, traceback.format_exc()))
        return
    try:
        register(result, plugin, provenance)
    except PluginError as error:
        if "defined by both" in str(error):
            raise
        result.failures.append(Failure(provenance, str(error), traceback.format_exc()))


def register(result: Host, plugin: object, provenance: Provenance) -> None:
    """Register one plugin object and its definitions, or raise and leave nothing of it behind."""
    if result.manager.is_blocked(provenance.plugin):
        return
    result.manager.register(plugin, provenance.plugin)
    try:
        _check_hooks(result.manager, plugin, provenance)
        definitions = list(_definitions(result.manager, plugin, provenance))
        for table_name, definition in definitions:
            getattr(result.registry, table_name).add(definition, provenance)
    except Exception:
        result.manager.unregister(plugin)
        raise
    result.loaded.append(provenance)


def _check_hooks(manager: pluggy.PluginManager, plugin: object, provenance: Provenance) -> None:
    where = f"plugin {provenance.plugin!r} ({provenance.distribution} {provenance.version})"
    known = [name for name in vars(hookspecs) if name.startswith("sslm_")]
    marked = {caller.name for caller in manager.get_hookcallers(plugin) or []}
    for name in dir(plugin):
        if name.startswith("sslm_") and callable(getattr(plugin, name)):
            if name not in known:
                raise PluginError(Problem(where, f"unknown hook {name!r}{suggest(name, known)}"))
            if name not in marked:
                raise PluginError(Problem(where, f"{name} is not marked: decorate it with @hookimpl"))
    if not marked:
        raise PluginError(Problem(where, "implements no hook; expected one of " + ", ".join(known)))
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(Problem(where, str(error))) from error


def _definitions(
    manager: pluggy.PluginManager, plugin: object, provenance: Provenance
) -> Iterable[tuple[str, Definition]]:
    for hook, (table, kind) in _REGISTRATION.items():
        where = f"{hook} of plugin {provenance.plugin!r} ({provenance.distribution})"
        implementation = getattr(plugin, hook, None)
        if implementation is None:
            continue
        try:
            returned = implementation()
            items = list(returned)
        except Exception as error:
            raise PluginError(
                Problem(where, f"must return an iterable of {kind.__name__}; got {_kind_of(error)}")
            ) from error
        for item in items:
            _check_definition(where, item, kind)
            yield table, item


def _kind_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _check_definition(where: str, item: object, kind: type[Any]) -> None:
    if not isinstance(item, kind):
        raise PluginError(Problem(where, f"must return {kind.__name__} objects; got {type(item).__name__}"))
    name = getattr(item, "name", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise PluginError(Problem(where, f"name {name!r} is not an identifier"))
    if not callable(item.build):
        raise PluginError(Problem(where, f"{name}.build is not callable"))
    if not (isinstance(item.options, type) and issubclass(item.options, Options)):
        raise PluginError(Problem(where, f"{name}.options must be a subclass of Options"))
