"""From a definition's name to its checks, as pytest parameters. Torch is imported when the first is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from sslm_platform.errors import PluginError, suggest
from sslm_platform.plugins import Host, host
from sslm_platform.registry import Table
from sslm_platform.types import (
    AugmenterDef,
    BalancerDef,
    Definition,
    ExecutorDef,
    HeadDef,
    MetricDef,
    ObjectiveDef,
    SamplerDef,
    WrapperDef,
)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one case; call it to run it."""

    id: str
    function: Callable[[Any], None]
    case: Any

    def __call__(self) -> None:
        """Run the check; it raises ``AssertionError`` where the definition breaks a rule."""
        self.function(self.case)


def parametrize_with_checks(
    name: str, kind: str | None = None, options: Mapping[str, Any] | None = None
) -> pytest.MarkDecorator:
    """Parametrize a test's argument ``check`` with the conformance checks of one definition.

    Args:
        name: Name of a definition of an installed plugin.
        kind: ``objective``, ``wrapper``, ``head``, ``metric``, ``sampler``, ``balancer``, ``augmenter``,
            ``estimator`` or ``executor``; needed where several share the name.
        options: Options to test with, as a spec would give them.

    Raises:
        PluginError: no definition has this name and kind, or several do.

    Example:
        >>> @parametrize_with_checks("mlm")
        ... def test_mlm(check):
        ...     check()
    """
    definition = _find(host(), name, kind)
    return pytest.mark.parametrize(
        "check", [pytest.param(c, id=c.id) for c in checks_of(definition, options)]
    )


def checks_of(definition: Definition, options: Mapping[str, Any] | None = None) -> Iterator[Check]:
    """Yield every check that applies to a definition, for each kind of output that it works with."""
    from sslm_platform.testing.cases import cases_of
    from sslm_platform.testing.definition_checks import DEFINITION_CHECKS

    for case in cases_of(definition, options or {}):
        prefix = f"{definition.name}-{case.emits}" if case.emits else definition.name
        for function in (*DEFINITION_CHECKS, *_checks_of_kind(case)):
            yield Check(f"{prefix}-{function.__name__.removeprefix('check_')}", function, case)


def _checks_of_kind(case: Any) -> tuple[Callable[[Any], None], ...]:
    from sslm_platform.testing import (
        augmenter_checks,
        balancer_checks,
        estimator_checks,
        executor_checks,
        head_checks,
        metric_checks,
        objective_checks,
        sampler_checks,
        wrapper_checks,
    )

    if isinstance(case.definition, ObjectiveDef):
        return objective_checks.objective_checks(case)
    if isinstance(case.definition, WrapperDef):
        return wrapper_checks.WRAPPER_CHECKS
    if isinstance(case.definition, HeadDef):
        return head_checks.head_checks(case)
    if isinstance(case.definition, MetricDef):
        return metric_checks.metric_checks(case)
    if isinstance(case.definition, SamplerDef):
        return sampler_checks.SAMPLER_CHECKS
    if isinstance(case.definition, BalancerDef):
        return balancer_checks.BALANCER_CHECKS
    if isinstance(case.definition, AugmenterDef):
        return augmenter_checks.AUGMENTER_CHECKS
    if isinstance(case.definition, ExecutorDef):
        return executor_checks.EXECUTOR_CHECKS
    return estimator_checks.ESTIMATOR_CHECKS


def _find(plugins: Host, name: str, kind: str | None) -> Definition:
    tables: dict[str, Table] = {table.kind: table for table in plugins.registry.tables}
    if kind is not None:
        if kind not in tables:
            raise PluginError(f"unknown kind {kind!r}{suggest(kind, tables)}")
        return plugins.get(tables[kind], name).definition
    found = [table for table in tables.values() if name in table]
    if len(found) > 1:
        kinds = " and ".join(table.kind for table in found)
        raise PluginError(f"{name!r} is {kinds}: say which with kind=")
    if not found:
        known = {known for table in tables.values() for known in table}
        raise PluginError(f"no plugin defines {name!r}{suggest(name, known)}{plugins.failures_note()}")
    return found[0].get(name).definition
