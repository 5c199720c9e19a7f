from __future__ import annotations

from types import ModuleType

from sslm_platform.report.findings import caveats, find
from sslm_platform.report.matrix import Relation
from sslm_platform.report.records import CellRecord
from sslm_platform.report.run import Run
from sslm_platform.report.views import families, summary


def test_findings_count_what_the_matrix_shows(run: Run):
    family = next(f for f in families(run.plan, run.cells) if f.slug == "full-probe--sentiment")
    assert family.gains[0].baseline == "pretrained"
    apart = [c.estimate for c in family.gains[0].all_cells if c.relation is Relation.APART and c.estimate]
    decided = [estimate for estimate in apart if estimate.excludes_zero]
    helps = sum(estimate.value > 0 for estimate in decided)
    finding = next(f for f in find([family]))
    expected = f"{helps} help, {len(decided) - helps} harm, {len(apart) - len(decided)} undecided"
    assert f"Of {len(apart)} pairs" in finding.text
    assert expected in finding.text
    assert "1 pair could not be measured" in finding.text
    worst = min(decided, key=lambda estimate: estimate.value)
    assert f"{100 * worst.value:.1f}" in finding.harms[0]
    assert all(line.startswith("tagging") for line in finding.harms)


def test_nothing_is_claimed_when_every_interval_includes_zero(run: Run):
    # Give every cell its baseline's numbers: all gains are exactly 0.
    same = {}
    for planned in run.plan.cells:
        base = run.cells.get(planned.baselines.get("pretrained", planned.id))
        if base is not None and base.status == "done":
            same[planned.id] = base.model_copy(update={"id": planned.id, "key": planned.key})
    family = next(f for f in families(run.plan, same) if f.slug == "full-probe--sentiment")
    (finding,) = find([family])
    assert "none shows a difference" in finding.text
    assert finding.gains == finding.harms == ()


def test_nothing_measured_is_said_as_such(run: Run):
    for finding in find(families(run.plan, {})):
        assert "Nothing is known yet" in finding.text
        assert finding.gains == finding.harms == ()


def test_caveats_tell_one_seed_from_several(run: Run, sample: ModuleType):
    assert "One seed" in caveats(families(run.plan, run.cells), (), joint=False)[0]
    plan = sample.make_plan(seeds=(1, 2))
    cells: dict[str, CellRecord] = {c.id: sample.make_record(c.key, 50) for c in plan.cells}
    several = caveats(families(plan, cells), (), joint=False)
    assert "examples and seeds" in several[0]
    assert not any("One seed" in note for note in several)
    assert "One seed" in caveats(families(plan, cells), (), joint=True)[0]
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
