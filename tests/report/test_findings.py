from __future__ import annotations

from types import ModuleType

import pytest

from sslm_platform.report.findings import caveats, find
from sslm_platform.report.matrix import Relation
from sslm_platform.report.records import CellRecord
from sslm_platform.report.run import Run
from sslm_platform.report.views import families, summary


def test_findings_count_what_the_matrix_shows(run: Run):
    family = next(f for f in families(run.plan, run.cells) if f.slug == "full-probe--sentiment")
    assert family.gains[0].baseline == "pretrained"
    apart = [c for c in family.gains[0].all_cells if c.relation is Relation.APART and c.estimate]
    decided = [cell.estimate for cell in apart if cell.q <= 0.05]
    assert 0 < len(decided) < len(apart)
    helps = sum(estimate.value > 0 for estimate in decided)
    finding = next(f for f in find([family]))
    expected = f"{helps} help, {len(decided) - helps} harm, {len(apart) - len(decided)} undecided"
    assert f"Of {len(apart)} pairs" in finding.text
    assert expected in finding.text
    assert "1 pair could not be measured" in finding.text
    worst = min(decided, key=lambda estimate: estimate.value)
    assert f"{100 * worst.value:.1f}" in finding.harms[0]
    assert all(line.startswith("tagging") for line in finding.harms)


def test_nothing_is_claimed_when_nothing_is_significant(run: Run):
    # Give every cell its baseline's numbers: all gains are exactly 0.
    same = {}
    for planned in run.plan.cells:
        base = run.cells.get(planned.baselines.get("pretrained", planned.id))
        if base is not None and base.status == "done":
            same[planned.id] = base.model_copy(update={"id": planned.id, "key": planned.key})
    family = next(f for f in families(run.plan, same) if f.slug == "full-probe--sentiment")
    (finding,) = find([family])
    assert "none shows a difference that is significant" in finding.text
    assert finding.gains == finding.harms == ()


def test_nothing_measured_is_said_as_such(run: Run):
    for finding in find(families(run.plan, {})):
        assert "Nothing is known yet" in finding.text
        assert finding.gains == finding.harms == ()


@pytest.mark.parametrize(
    ("num_seeds", "title"), [(1, "One seed"), (2, "Two to 4 seeds or draws"), (5, "5 seeds or more")]
)
def test_caveats_say_what_the_seeds_allow(sample: ModuleType, num_seeds: int, title: str):
    plan = sample.make_plan(("tweets", "movies"), (), seeds=tuple(range(num_seeds)))
    cells: dict[str, CellRecord] = {c.id: sample.make_record(c.key, 50) for c in plan.cells}
    first, second = caveats(families(plan, cells), (), joint=False)
    assert first.startswith(f"{title} (sentiment full/zero_shot, sentiment full/probe): ")
    assert ("hold for the one model" in first) == (num_seeds == 1)
    assert ("conditional on the trained models" in first) == (num_seeds == 2)
    assert ("over seeds and test examples" in first) == (num_seeds == 5)
    assert "Benjamini-Hochberg" in second


def test_caveats_name_the_matrices_that_they_are_about(sample: ModuleType):
    """A matrix of one seed beside one of five: each caveat names its own."""
    five = sample.make_plan(("tweets",), ("people",), seeds=tuple(range(5)))
    is_probe = [c for c in five.cells if c.key.target_stage == "probe"]
    plan = five.model_copy(update={"cells": tuple(c for c in five.cells if c.key.seed == 0 or c in is_probe)})
    cells = {c.id: sample.make_record(c.key, 50) for c in plan.cells}
    one, many, *_ = caveats(families(plan, cells), (), joint=True)
    assert one.startswith("One seed (sentiment full/zero_shot, joint model): ")
    assert many.startswith("5 seeds or more (sentiment full/probe, tagging full/probe): ")
    assert caveats((), ("note",), joint=False) == ("note",)


def test_summary_compares_the_same_cells(run: Run):
    family = families(run.plan, run.cells)[0]
    rows = {(row.relation, row.name): row for row in summary(family)}
    ours, head = rows[Relation.APART, "full/zero_shot"], rows[Relation.APART, "head"]
    assert (ours.score.count, ours.score.planned) == (11, 12)
    assert head.score.count == 11
    assert head.gain is not None
    difference = ours.score.estimate.value - head.score.estimate.value
    assert abs(head.gain.estimate.value - difference) < 1e-12


def test_baselines_that_no_source_changes_are_rows_below_the_scores(run: Run):
    by_slug = {family.slug: family for family in families(run.plan, run.cells)}
    assert list(by_slug["full-zero_shot--sentiment"].floor) == ["majority"]
    assert list(by_slug["full-probe--sentiment"].floor) == ["pretrained", "tfidf", "majority"]
    tfidf = by_slug["full-probe--sentiment"].floor["tfidf"]
    assert tfidf.rows == ("",)
    assert set(tfidf.cols) == set(by_slug["full-probe--sentiment"].scores.cols)
