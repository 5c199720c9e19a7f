import pytest

from sslm_platform.errors import PluginError
from sslm_platform.registry import NameCollisionError, Registry
from sslm_platform.types import BalancerDef, Provenance

HERE = Provenance("here", "here-dist", "1.0")
THERE = Provenance("there", "there-dist", "2.0")


def balancer(name):
    return BalancerDef(name, build=lambda options: None)


@pytest.fixture
def registry():
    registry = Registry()
    for name in ("static", "equal"):
        registry.balancers.add(balancer(name), HERE)
    return registry


def test_get_returns_definition_and_provenance(registry):
    entry = registry.balancers.get("equal")
    assert (entry.definition.name, entry.provenance) == ("equal", HERE)


def test_unknown_name_suggests_the_nearest(registry):
    with pytest.raises(PluginError, match="unknown balancer 'statc'; did you mean static\\?"):
        registry.balancers.get("statc")


def test_unknown_name_far_from_all_lists_what_there_is(registry):
    with pytest.raises(PluginError, match="unknown balancer 'famo'; known: equal, static"):
        registry.balancers.get("famo")


def test_second_definition_of_a_name_is_refused_and_the_first_stays(registry):
    with pytest.raises(NameCollisionError, match=r"here-dist 1\.0 and there-dist 2\.0; uninstall one"):
        registry.balancers.add(balancer("equal"), THERE)
    assert registry.balancers.get("equal").provenance == HERE


def test_a_plugin_that_defines_a_name_twice_is_told_so(registry):
    with pytest.raises(PluginError, match="balancer 'equal': defined twice") as caught:
        registry.balancers.add(balancer("equal"), HERE)
    assert not isinstance(caught.value, NameCollisionError)  # which no other plugin can help


def test_one_name_in_two_tables_is_fine(registry):
    assert "equal" not in registry.samplers
    assert "equal" in registry.balancers


def test_frozen_registry_refuses_additions(registry):
    registry.freeze()
    with pytest.raises(PluginError, match="frozen"):
        registry.balancers.add(balancer("late"), HERE)
    assert "late" not in registry.balancers


def test_iteration_is_sorted(registry):
    assert list(registry.balancers) == ["equal", "static"]
    assert len(registry.balancers) == 2
