"""The host against what strangers do: every plugin here is a real distribution in a temporary folder."""

import importlib.metadata
import inspect
import itertools
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sslm_platform import hookspecs
from sslm_platform.errors import PluginError
from sslm_platform.plugins import host, load_plugins
from sslm_platform.registry import NameCollisionError

HEADER = """
from sslm_platform.api import (
    BalancerDef,
    EstimatorDef,
    EvidenceKind,
    HeadDef,
    MetricDef,
    ObjectiveDef,
    OutputKind,
    WrapperDef,
    hookimpl,
)
"""
BALANCER = """
@hookimpl
def sslm_balancers():
    return [BalancerDef("{name}", lambda options: None)]
"""
numbers = itertools.count()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a distribution with one plugin into a folder of its own."""

    def install(body, plugin=None, distribution="stranger", version="1.0"):
        number = next(numbers)  # module names are unique: imports are cached for the whole session
        folder = tmp_path / str(number)
        module = f"stranger_plugin_{number}"
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(HEADER + textwrap.dedent(body))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[sslm_platform]\n{plugin or distribution} = {module}\n")
        monkeypatch.syspath_prepend(folder)
        return folder

    return install


def load(*folders):
    return load_plugins(importlib.metadata.distributions(path=[str(folder) for folder in folders]))


def reason(folder):
    """Return why the only plugin there failed, after checking that nothing of it is left."""
    plugins = load(folder)
    (failure,) = plugins.failures
    assert plugins.loaded == []
    assert all(len(table) == 0 for table in plugins.registry.tables)
    assert plugins.manager.get_plugins() == set()
    return failure.reason


def test_definitions_keep_their_provenance(install):
    plugins = load(install(BALANCER.format(name="mine"), plugin="my-plugin", version="2.5"))
    assert plugins.failures == []
    provenance = plugins.registry.balancers.get("mine").provenance
    assert (provenance.plugin, provenance.distribution, provenance.version) == (
        "my-plugin",
        "stranger",
        "2.5",
    )


def test_failing_import_is_recorded_and_named_when_a_name_is_missing(install):
    broken = install("import no_such_module", distribution="broken", version="0.3")
    plugins = load(broken, install(BALANCER.format(name="mine"), distribution="fine"))
    assert "mine" in plugins.registry.balancers
    (failure,) = plugins.failures
    assert "ModuleNotFoundError" in failure.reason
    assert "import no_such_module" in failure.traceback
    with pytest.raises(
        PluginError, match=r"unknown balancer 'theirs'.*plugin 'broken' \(broken 0\.3\) failed"
    ):
        plugins.get(plugins.registry.balancers, "theirs")


def test_exit_while_importing_stops_nobody(install):
    assert "SystemExit" in reason(install("raise SystemExit(1)"))


def test_misspelt_hook(install):
    body = BALANCER.format(name="mine").replace("sslm_balancers", "sslm_balancer")
    assert "unknown hook 'sslm_balancer'; did you mean sslm_balancers?" in reason(install(body))


def test_marked_function_of_another_name(install):
    assert "unknown hook" in reason(install(BALANCER.format(name="a") + "@hookimpl\ndef objectives(): ..."))


def test_unmarked_function(install):
    body = BALANCER.format(name="mine").replace("@hookimpl", "")
    assert "sslm_balancers is not marked: decorate it with @hookimpl" in reason(install(body))


def test_hook_with_an_argument_it_does_not_get(install):
    body = BALANCER.format(name="mine").replace("sslm_balancers()", "sslm_balancers(spec)")
    assert "spec" in reason(install(body))


def test_no_hook_at_all(install):
    assert "implements no hook; expected one of sslm_augmenters" in reason(install("x = 1"))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "must return an iterable of BalancerDef; got NoneType"),
        ("BalancerDef('a', len)", "must return an iterable of BalancerDef; got BalancerDef"),
        ("['a']", "must return BalancerDef objects; got str"),
        (
            "[MetricDef('a', len, frozenset({OutputKind.SEQUENCE_VALUES}))]",
            "must return BalancerDef objects; got MetricDef",
        ),
        ("[BalancerDef('not a name', len)]", "'not a name' is not an identifier"),
        ("[BalancerDef('a', 3)]", "a.build is not callable"),
        ("[BalancerDef('a', len, options=dict)]", "a.options must be a subclass of Options"),
        ("[BalancerDef('fine', len), BalancerDef('a', 3)]", "a.build is not callable"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_wrong_return_value(install, returned, message):
    assert message in reason(install(f"@hookimpl\ndef sslm_balancers():\n    return {returned}\n"))


def estimator(needs, targets):
    return f"EstimatorDef('a', len, needs={needs}, targets={targets})"


@pytest.mark.parametrize(
    ("hook", "definition", "message"),
    [
        ("metrics", "MetricDef('a', len, frozenset())", "accepts must be a set of OutputKind"),
        (
            "metrics",
            "MetricDef('a', len, frozenset({OutputKind.SEQUENCE_VALUES}), best=float('inf'))",
            "best must be finite",
        ),
        ("heads", "HeadDef('a', len, emits='logits')", "emits must be an OutputKind; got 'logits'"),
        ("heads", "HeadDef('a', len, OutputKind.SEQUENCE_LOGITS, tied=True)", "tied goes with"),
        (
            "estimators",
            estimator("{}", "{OutputKind.SEQUENCE_LOGITS}"),
            "needs must be a set of EvidenceKind",
        ),
        ("estimators", estimator("{'texts'}", "set()"), "targets must be a set of OutputKind"),
        (
            "estimators",
            estimator("{EvidenceKind.OUTPUTS}", "{OutputKind.SEQUENCE_VALUES}"),
            "targets can only be sequence_logits, token_logits with needs outputs",
        ),
        ("objectives", "ObjectiveDef('a', len, needs={'logits': {}})", "needs must map OutputKind to fields"),
        (
            "objectives",
            "ObjectiveDef('a', len, needs={OutputKind.SEQUENCE_VALUES: {}}, labels=('b', 'c'))",
            "labels go with needs of OutputKind.SEQUENCE_LOGITS or TOKEN_LOGITS alone",
        ),
        ("wrappers", "WrapperDef('a', len, kinds={'logits'})", "kinds must be a set of OutputKind"),
    ],
)
def test_wrong_kinds_of_output(install, hook, definition, message):
    assert message in reason(install(f"@hookimpl\ndef sslm_{hook}():\n    return [{definition}]\n"))


def test_two_plugins_of_one_name_name_both_distributions(install):
    first = install(BALANCER.format(name="a"), plugin="same", distribution="one")
    second = install(BALANCER.format(name="b"), plugin="same", distribution="two", version="2.0")
    for order in ((first, second), (second, first)):
        with pytest.raises(NameCollisionError, match=r"plugin 'same': defined by both one 1\.0 and two 2\.0"):
            load(*order)


def test_two_definitions_of_one_name_name_both_distributions(install):
    first = install(BALANCER.format(name="same"), distribution="one")
    second = install(BALANCER.format(name="same"), distribution="two")
    for order in ((first, second), (second, first)):
        with pytest.raises(
            NameCollisionError, match=r"balancer 'same': defined by both one 1\.0 and two 1\.0"
        ):
            load(*order)


def test_shadowed_distribution_is_not_a_second_plugin(install):
    newer = install(BALANCER.format(name="new"), distribution="my-plugin", version="2.0")
    older = install(BALANCER.format(name="old"), distribution="my_plugin", version="1.0")
    plugins = load(newer, older)
    assert list(plugins.registry.balancers) == ["new"]


def test_install_order_does_not_matter(install):
    folders = [install(BALANCER.format(name=name), distribution=f"d-{name}") for name in "cab"]
    for order in itertools.permutations(folders):
        plugins = load(*order)
        assert list(plugins.registry.balancers) == ["a", "b", "c"]
        assert [p.distribution for p in plugins.loaded] == ["d-a", "d-b", "d-c"]


def test_observers_are_called_with_the_record(install):
    body = "seen = []\n@hookimpl\ndef sslm_step_ended(record):\n    seen.append(record)\n"
    plugins = load(install(body))
    plugins.manager.hook.sslm_step_ended(record="a record")
    (plugin,) = plugins.manager.get_plugins()
    assert plugin.seen == ["a record"]


def test_installed_plugins_load_without_heavy_imports():
    """``sslm --help`` and ``sslm plugins`` must answer at once."""
    code = """
        import sys
        from sslm_platform.plugins import host
        assert not host().failures, host().failures
        assert "mlm" in host().registry.objectives
        heavy = {"torch", "transformers", "datasets", "scipy", "sklearn", "seqeval"} & set(sys.modules)
        assert not heavy, heavy
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


HOOKS = [name for name in vars(hookspecs) if name.startswith("sslm_")]


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_its_exact_signature(name):
    docs = Path(__file__).parents[1] / "docs" / "writing-plugins.md"
    signature = f"{name}{inspect.signature(getattr(hookspecs, name))}".replace("'", "")
    assert signature in docs.read_text(encoding="utf-8")


REGISTRATION = (
    "objectives",
    "wrappers",
    "heads",
    "metrics",
    "samplers",
    "balancers",
    "augmenters",
    "estimators",
    "executors",
)


@pytest.mark.parametrize("table", REGISTRATION)
def test_every_registration_hook_has_a_real_plugin(table):
    assert len(getattr(host().registry, table)) > 0
