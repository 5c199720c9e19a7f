"""Estimates are counted from the plan alone, and come true to the token."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import pytest
from rich.console import Console

from sslm_platform.report.estimates import Rates, outcome
from sslm_platform.report.records import read_cells, read_trainings
from sslm_platform.train.folder import RunFolder
from sslm_platform.transfer.cells import plan_cells
from sslm_platform.transfer.costs import estimate
from sslm_platform.transfer.estimate import unit_cost
from sslm_platform.transfer.plan import Plan
from sslm_platform.transfer.runner import open_lab, run_transfer
from sslm_platform.transfer.units import PRETRAINED, units_of

SENTIMENT = {"task": "sentiment"}
SHOP = {"task": "sentiment", "domain": "shop"}
BLOCKS = [
    {"source_stage": "head", "target_stage": "zero_shot", "sources": SENTIMENT, "targets": SENTIMENT},
    {"source_stage": "full", "target_stage": "zero_shot", "sources": {"task": "mlm"},
     "targets": {"task": "mlm"}, "max_steps": 3},
    {"source_stage": "full", "target_stage": "probe", "sources": [{"task": ["mlm", "names"], "by": "task"}],
     "targets": {"task": ["names", "rating", "sentiment"]}, "epochs": 0.5, "seeds": [1, 2]},
    {"source_stage": "none", "target_stage": "finetune", "targets": SHOP, "finetune_max_steps": 3},
    {"source_stage": "none", "target_stage": "few_shot", "targets": SHOP,
     "few_shot": {"k": [2, 4], "draws": 2}},
    {"source_stage": "sequential", "target_stage": "zero_shot", "sources": {"task": "names"},
     "then": [SHOP], "targets": SENTIMENT, "max_steps": 2},
]  # fmt: skip
RATES = Rates(
    origin="a test",
    train_tokens_per_second={"cross_entropy": 1000.0, "mlm": 500.0},
    encode_tokens_per_second=4000.0,
    seconds_per_fit=0.5,
    seconds_per_cell=0.1,
    seconds_per_unit=2.0,
    model_bytes=1_000_000,
)


@pytest.fixture(scope="module")
def lab(make_specs, encoder_folder, tmp_path_factory):
    specs = make_specs(tmp_path_factory.mktemp("estimate"))
    content = specs.content(encoder=encoder_folder, transfer=BLOCKS, limit={"train": 60})
    corpus = specs.corpus(content, "schedule.max_steps=5")
    return open_lab(corpus, RunFolder(tmp_path_factory.mktemp("run")), Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def measured(lab):
    """An estimate, and the records of the work that it is of."""
    plan = plan_cells(lab.corpus)
    before = estimate(lab, plan, RATES)
    run_transfer(lab.corpus, plan, lab.folder, lab.console)
    return plan, before, read_cells(lab.folder.transfer), read_trainings(lab.folder.transfer)


def test_every_cell_takes_the_tokens_that_were_counted(measured):
    _, before, cells, trainings = measured
    assert {cell.status for cell in cells.values()} == {"done"}
    for unit in before.units:
        taken = sum(cells[cell].num_tokens for cell in unit.cells)
        tuned = 0
        if unit.training:
            assert trainings[unit.training].num_steps == unit.train_steps
            assert trainings[unit.training].num_tokens == sum(unit.train_tokens.values())
        else:
            tuned = sum(unit.train_tokens.values())
        scoring = unit.encode_tokens if tuned else 0  # a fine-tuned cell's record has its training alone
        assert taken == unit.encode_tokens - scoring + tuned, unit.name


def test_afterwards_nothing_is_left(measured, lab):
    plan = measured[0]
    after = estimate(lab, plan, RATES)
    assert after.units == ()
    assert (after.seconds, after.num_bytes) == (0, 0)


def test_the_whole_is_the_sum_of_its_units(measured):
    _, before, _, _ = measured
    assert before.seconds == pytest.approx(sum(unit.seconds(RATES) for unit in before.units))
    assert before.encode_tokens == sum(unit.encode_tokens for unit in before.units)
    assert sum(bool(unit.training) for unit in before.units) == len(measured[0].trainings)
    models = [unit for unit in before.units if unit.training]
    assert all(unit.num_bytes >= RATES.model_bytes for unit in models)


def test_a_units_time_is_that_of_its_parts(measured):
    (unit,) = [unit for unit in measured[1].units if unit.id == PRETRAINED]
    expected = unit.encode_tokens / 4000 + unit.num_fits * 0.5 + len(unit.cells) * 0.1 + 2.0
    assert unit.seconds(RATES) == pytest.approx(expected)
    mixed = unit.model_copy(update={"train_tokens": {"mlm": 500, "cross_entropy": 1000, "new": 750}})
    assert mixed.seconds(RATES) == pytest.approx(expected + 1 + 1 + 1)  # an unknown kind: the mean rate


def test_a_part_of_a_plan_costs_at_most_the_whole(lab, tmp_path):
    plan = plan_cells(lab.corpus)
    lab = replace(lab, folder=RunFolder(tmp_path))
    rng = random.Random(5)
    cells = list(plan.cells)
    whole = estimate(lab, plan, RATES)
    for _ in range(8):
        taken = rng.sample(cells, rng.randrange(len(cells)))
        part = estimate(lab, Plan({cell: plan.cells[cell] for cell in cells if cell in taken}), RATES)
        assert part.seconds <= whole.seconds
        assert part.encode_tokens <= whole.encode_tokens
        assert part.train_tokens <= whole.train_tokens
        assert part.num_bytes <= whole.num_bytes
        whole_units = {unit.id: unit for unit in whole.units}
        for unit in part.units:
            assert set(unit.cells) <= set(whole_units[unit.id].cells)


def test_what_is_fitted_already_is_not_counted_again(lab, measured):
    """A cell more on the fitted sources costs its own test examples, and no probe."""
    (unit,) = [unit for unit in units_of(measured[0]) if unit.id == PRETRAINED]
    heads = [cell for cell in unit.cells if cell.key.source_stage == "head"]
    one = [cell for cell in heads if cell.key.target == "sentiment@shop"][:1]
    cost = unit_cost(lab.corpus, unit, one, None, lambda tasks, seed: True, 0)
    test = lab.corpus.task_feed(lab.corpus.run.tasks["sentiment@shop"], 3).splits["test"]
    assert cost.encode_tokens == test.lengths_N.sum()
    assert cost.num_fits == 0
    anew = unit_cost(lab.corpus, unit, one, None, lambda tasks, seed: False, 0)
    assert anew.num_fits == 1
    assert anew.encode_tokens > cost.encode_tokens


def test_an_outcome_compares_finished_units_only(measured):
    _, before, cells, trainings = measured
    whole = outcome(before, cells, trainings)
    loading = RATES.seconds_per_unit * len(before.units)
    assert whole.expected_seconds == pytest.approx(before.seconds - loading)
    spent = sum(cell.seconds for cell in cells.values()) + sum(t.seconds for t in trainings.values())
    assert whole.seconds == pytest.approx(spent)
    assert whole.ratio == pytest.approx(spent / whole.expected_seconds)
    first = before.units[0]
    few = {cell: cells[cell] for cell in first.cells}
    part = outcome(before, few, {})
    assert (part.num_units, whole.num_units) == (1, len(before.units))
    assert part.num_tokens == sum(cell.num_tokens for cell in few.values())
    assert outcome(before, {}, {}) is None
