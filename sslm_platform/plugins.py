"""The plugin host: finds plugins through entry points, checks what they return, records what failed."""

from __future__ import annotations

import importlib.metadata
import math
import re
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pluggy

from sslm_platform import hookspecs
from sslm_platform.errors import PluginError, Problem, suggest
from sslm_platform.kinds import EvidenceKind, OutputKind
from sslm_platform.registry import NameCollisionError, Registry, Table
from sslm_platform.types import (
    AugmenterDef,
    BalancerDef,
    Definition,
    EstimatorDef,
    ExecutorDef,
    HeadDef,
    MetricDef,
    ObjectiveDef,
    Options,
    Provenance,
    SamplerDef,
    WrapperDef,
)

GROUP = "sslm_platform"

_REGISTRATION: dict[str, tuple[str, type[Any]]] = {
    "sslm_objectives": ("objectives", ObjectiveDef),
    "sslm_wrappers": ("wrappers", WrapperDef),
    "sslm_heads": ("heads", HeadDef),
    "sslm_metrics": ("metrics", MetricDef),
    "sslm_samplers": ("samplers", SamplerDef),
    "sslm_augmenters": ("augmenters", AugmenterDef),
    "sslm_balancers": ("balancers", BalancerDef),
    "sslm_estimators": ("estimators", EstimatorDef),
    "sslm_executors": ("executors", ExecutorDef),
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
            raise PluginError(f"{error}{self.failures_note()}") from None

    def failures_note(self) -> str:
        """Return what to add to an error about a missing name: the plugins that may have defined it."""
        return "".join(f"; {_describe(f.provenance)} failed to load: {f.reason}" for f in self.failures)


@lru_cache(maxsize=1)
def host() -> Host:
    """Return this process's plugin host, loaded from the installed entry points."""
    return load_plugins(importlib.metadata.distributions())


def load_plugins(distributions: Iterable[importlib.metadata.Distribution]) -> Host:
    """Load every entry point of the group; a plugin that fails is recorded, not raised.

    Raises:
        NameCollisionError: two plugins or two definitions have one name.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    result = Host(manager)
    found: dict[str, Provenance] = {}
    for entry, provenance in sorted(_entry_points(distributions), key=_by_name):
        if entry.name in found:
            first = found[entry.name]
            raise NameCollisionError(
                Problem(
                    f"plugin {entry.name!r}",
                    f"defined by both {first.distribution} {first.version} and"
                    f" {provenance.distribution} {provenance.version}; uninstall one of them",
                )
            )
        found[entry.name] = provenance
        _load(result, entry, provenance)
    result.registry.freeze()
    return result


def _by_name(found: tuple[importlib.metadata.EntryPoint, Provenance]) -> tuple[str, str]:
    return found[0].name, found[1].distribution


def _entry_points(
    distributions: Iterable[importlib.metadata.Distribution],
) -> Iterable[tuple[importlib.metadata.EntryPoint, Provenance]]:
    seen: set[str] = set()
    for distribution in distributions:
        entries = [entry for entry in distribution.entry_points if entry.group == GROUP]
        if not entries:  # the name is in another file, and most distributions are none of ours
            continue
        name = distribution.metadata["Name"]
        normalized = re.sub(r"[-_.]+", "-", name).lower()
        if normalized in seen:  # the first on sys.path wins, as in import
            continue
        seen.add(normalized)
        for entry in entries:
            yield entry, Provenance(entry.name, name, distribution.version)


def _load(result: Host, entry: importlib.metadata.EntryPoint, provenance: Provenance) -> None:
    try:
        register(result, entry.load(), provenance)
    except NameCollisionError:
        raise
    except (Exception, SystemExit) as error:  # whatever a stranger's code raises must not stop the others
        reason = str(error) if isinstance(error, PluginError) else _name_and_text(error)
        result.failures.append(Failure(provenance, reason, traceback.format_exc()))


def register(result: Host, plugin: object, provenance: Provenance) -> None:
    """Register one plugin object and its definitions, or raise and leave nothing of it behind.

    Raises:
        PluginError: the plugin breaks a rule.
        NameCollisionError: a definition of that kind and name is already there.
    """
    _check_names(plugin, provenance)
    try:
        result.manager.register(plugin, provenance.plugin)
    except (ValueError, pluggy.PluginValidationError) as error:
        raise PluginError(Problem(_describe(provenance), " ".join(str(error).split()))) from error
    try:
        _check_marks(result.manager, plugin, provenance)
        for table_name, definition in list(_definitions(plugin, provenance)):
            getattr(result.registry, table_name).add(definition, provenance)
    except Exception:
        result.manager.unregister(plugin)
        raise
    result.loaded.append(provenance)


def _hook_names(plugin: object) -> list[str]:
    return [n for n in dir(plugin) if n.startswith("sslm_") and callable(getattr(plugin, n))]


KNOWN_HOOKS = tuple(_hook_names(hookspecs))


def _check_names(plugin: object, provenance: Provenance) -> None:
    names = _hook_names(plugin)
    for name in names:
        if name not in KNOWN_HOOKS:
            raise PluginError(
                Problem(_describe(provenance), f"unknown hook {name!r}{suggest(name, KNOWN_HOOKS)}")
            )
    if not names:
        raise PluginError(
            Problem(_describe(provenance), "implements no hook; expected one of " + ", ".join(KNOWN_HOOKS))
        )


def _check_marks(manager: pluggy.PluginManager, plugin: object, provenance: Provenance) -> None:
    marked = {caller.name for caller in manager.get_hookcallers(plugin) or []}
    for name in _hook_names(plugin):
        if name not in marked:
            raise PluginError(
                Problem(_describe(provenance), f"{name} is not marked: decorate it with @hookimpl")
            )
    try:  # a marked function of another name has no specification
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(Problem(_describe(provenance), str(error))) from error


def _definitions(plugin: object, provenance: Provenance) -> Iterable[tuple[str, Definition]]:
    for hook, (table, kind) in _REGISTRATION.items():
        implementation = getattr(plugin, hook, None)
        if implementation is None:
            continue
        where = f"{hook} of {_describe(provenance)}"
        returned = implementation()
        if not isinstance(returned, Iterable):
            raise PluginError(
                Problem(where, f"must return an iterable of {kind.__name__}; got {type(returned).__name__}")
            )
        for item in returned:
            _check_definition(where, item, kind)
            yield table, item


def _describe(provenance: Provenance) -> str:
    return f"plugin {provenance.plugin!r} ({provenance.distribution} {provenance.version})"


def _name_and_text(error: BaseException) -> str:
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
    wrong = _wrong_kinds(item)
    if wrong:
        raise PluginError(Problem(where, f"{name}.{wrong}"))


_LABELLED = ({OutputKind.SEQUENCE_LOGITS}, {OutputKind.TOKEN_LOGITS})
_TIED = {OutputKind.VOCABULARY_LOGITS}  # whose heads project inside the encoder's one call
_MAY_BE_TIED = _TIED | {OutputKind.GENERATED_TEXT}


def _wrong_kinds(definition: object) -> str:
    """Return what is wrong with a definition's kinds of output, or nothing."""
    match definition:
        case ObjectiveDef(needs=needs) if not _are_kinds(needs):
            return "needs must map OutputKind to fields"
        case ObjectiveDef(encoder_calls=calls) if calls < 1:
            return f"encoder_calls must be 1 or more; got {calls}"
        case ObjectiveDef(encoder_calls=calls, needs=needs) if calls > 1 and _TIED & set(needs):
            return "encoder_calls of more than 1 do not go with OutputKind.VOCABULARY_LOGITS"
        case ObjectiveDef(labels=[_, *_], needs=needs) if set(needs) not in _LABELLED:
            return "labels go with needs of OutputKind.SEQUENCE_LOGITS or TOKEN_LOGITS alone"
        case ObjectiveDef(rewritten=True, changes_input=False):
            return "rewritten goes with changes_input=True"
        case WrapperDef(kinds=emitted) if not _are_kinds(emitted):
            return "kinds must be a set of OutputKind"
        case HeadDef(emits=emits) if not isinstance(emits, OutputKind):
            return f"emits must be an OutputKind; got {emits!r}"
        case HeadDef(emits=emits, tied=True) if emits not in _MAY_BE_TIED:
            return "tied goes with emits=OutputKind.VOCABULARY_LOGITS or GENERATED_TEXT"
        case MetricDef(accepts=accepts) if not _are_kinds(accepts):
            return "accepts must be a set of OutputKind"
        case MetricDef(best=best) if not math.isfinite(best):
            return f"best must be finite; got {best}"
        case EstimatorDef(targets=targets) if not _are_kinds(targets):
            return "targets must be a set of OutputKind"
        case EstimatorDef(needs=needs) if not needs or not all(isinstance(n, EvidenceKind) for n in needs):
            return "needs must be a set of EvidenceKind"
        case EstimatorDef(needs=needs, targets=targets) if not targets <= _scorable(needs):
            kinds = ", ".join(sorted(_scorable(needs)))
            return f"targets can only be {kinds} with needs {', '.join(sorted(needs))}"
    return ""


def _scorable(needs: Iterable[EvidenceKind]) -> set[OutputKind]:
    """Return the kinds of target for which the platform can make this evidence."""
    kinds = set(OutputKind)
    if EvidenceKind.FEATURES in needs:
        kinds -= {OutputKind.VOCABULARY_LOGITS, OutputKind.LABEL_SET_LOGITS, OutputKind.GENERATED_TEXT}
    if EvidenceKind.OUTPUTS in needs:
        kinds = {kind for kind in kinds if kind.has_labels} - {OutputKind.LABEL_SET_LOGITS}
    return kinds


def _are_kinds(kinds: Iterable[object]) -> bool:
    found = list(kinds)
    return bool(found) and all(isinstance(kind, OutputKind) for kind in found)
