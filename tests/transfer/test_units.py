"""Units: every defined cell in one, what trains the encoder apart, sequences in their order."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslm_platform.errors import SslmError
from sslm_platform.transfer.cells import plan_cells
from sslm_platform.transfer.units import PRETRAINED, Shard, parse_shard, units_of

SENTIMENT = {"task": "sentiment"}
BLOCKS = [
    {"source_stage": "full", "target_stage": "zero_shot", "sources": SENTIMENT, "targets": SENTIMENT},
    {"source_stage": "none", "target_stage": "finetune", "targets": SENTIMENT},
    {"source_stage": "sequential", "target_stage": "probe", "sources": {"task": "mlm"}, "then": [SENTIMENT],
     "targets": SENTIMENT},
]  # fmt: skip


@pytest.fixture
def plan(specs, encoder_folder):
    return plan_cells(specs.corpus(specs.content("films", "shops", encoder=encoder_folder, transfer=BLOCKS)))


def test_each_cell_is_in_one_unit_with_its_training(plan):
    units = units_of(plan)
    assert len({unit.id for unit in units}) == len(units)
    cells = [cell.id for unit in units for cell in unit.cells]
    assert sorted(cells) == sorted(cell.id for cell in plan.cells.values() if not cell.undefined)
    for unit in units:
        assert all(cell.training is unit.training or cell.training == unit.training for cell in unit.cells)


def test_what_changes_the_pretrained_encoder_is_a_unit_of_its_own(plan):
    units = {unit.id: unit for unit in units_of(plan)}
    assert not any(cell.key.protocol == "none/finetune" for cell in units[PRETRAINED].cells)
    tuned = [unit for unit in units.values() if unit.training is None and unit.id != PRETRAINED]
    assert [len(unit.cells) for unit in tuned] == [1, 1]
    assert tuned[0].name == "pretrained → sentiment@film"


def test_a_training_comes_after_the_one_that_it_begins_with(plan):
    units = units_of(plan)
    places = {unit.id: place for place, unit in enumerate(units)}
    later = [unit for unit in units if unit.start]
    assert later
    assert all(places[unit.start] < places[unit.id] for unit in later)


@given(st.integers(0, 40), st.integers(1, 9))
def test_shards_begin_apart_and_each_knows_all_units(num_units, count):
    units = [SimpleNamespace(id=str(number)) for number in range(num_units)]
    orders = [Shard(index, count).order(units) for index in range(1, count + 1)]
    for order in orders:
        assert sorted(unit.id for unit in order) == sorted(unit.id for unit in units)
    firsts = [order[0].id for order in orders if order]
    assert len(set(firsts)) == min(count, num_units) or num_units == 0


def test_a_shard_is_read_and_a_wrong_one_refused():
    assert parse_shard("2/4") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2/4"
    for text in ("0/4", "5/4", "2", "a/b", "-1/2", "1/0"):
        with pytest.raises(SslmError, match="expected i/n with i from 1 to n"):
            parse_shard(text)
