"""Affinities for groups, and what became of groups, from records made up for it."""

from __future__ import annotations

import numpy as np
import pytest

from sslm_platform.errors import RunError
from sslm_platform.report.grouping import GroupPlan, affinities, outcomes
from sslm_platform.report.predictions import PredictedMatrix
from sslm_platform.report.records import CellKey, CellRecord, MetricValue, PlannedCell, TransferPlan

TASKS = ("a@x", "b@x", "c@x")


def cell(sources, target, value, *, name=None, stage="full", row=(), noise=0.01, seed=1, higher=True):
    key = CellKey(source_stage=stage, target_stage="zero_shot", source=name or " + ".join(sources),
                  source_tasks=sources, row=row, target=target, seed=seed)  # fmt: skip
    rng = np.random.default_rng(len(sources))
    return CellRecord(
        id=f"{stage}-{name}-{sources}-{target}-{seed}",
        key=key,
        status="done",
        metric="accuracy",
        higher_is_better=higher,
        scores={"accuracy": MetricValue(value=value, low=value, high=value)},
        resamples=tuple((value + noise * rng.normal(size=200)).tolist()),
    )


def plan_of(records, baselines=None):
    cells = [PlannedCell(id=r.id, key=r.key, baselines=(baselines or {}).get(r.id, {})) for r in records]
    return TransferPlan(cells=tuple(cells), tasks={}), {record.id: record for record in records}


def matrix(values, *, signed=True):
    return {"guess": PredictedMatrix("guess", signed, TASKS, TASKS, values, {})}


def test_signed_predictions_are_taken_as_they_are():
    values = {("a@x", "b@x"): 0.5, ("b@x", "a@x"): -0.25, ("group", "a@x"): 9.0}
    found = affinities("guess", matrix(values), None, {}, TASKS)
    assert found.affinity_TT.tolist() == [[0.0, 0.5, 0.0], [-0.25, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert set(found.unknown) == {("a@x", "c@x"), ("c@x", "a@x"), ("b@x", "c@x"), ("c@x", "b@x")}


def test_predictions_without_a_zero_are_compared_within_a_target():
    """c's values are a hundred times a's: as they are, c alone would decide."""
    values = {("b@x", "a@x"): 1.0, ("c@x", "a@x"): 2.0, ("a@x", "c@x"): 100.0, ("b@x", "c@x"): 300.0,
              ("a@x", "b@x"): 5.0, ("c@x", "b@x"): 5.0}  # fmt: skip
    found = affinities("guess", matrix(values, signed=False), None, {}, TASKS)
    assert found.affinity_TT.tolist() == [[0.0, 0.0, -1.0], [-1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    assert not found.unknown


def test_measured_pairs_are_gains_over_the_target_alone():
    records, baselines = [], {}
    for seed, (value, base) in enumerate(((0.7, 0.6), (0.8, 0.5))):
        pair = cell(("a@x", "b@x"), "b@x", value, name="a@x", stage="pairwise", row=(("a@x",),), seed=seed)
        alone = cell(("b@x",), "b@x", base, seed=seed)
        records += [pair, alone]
        baselines[pair.id] = {"alone": alone.id}
    plan, cells = plan_of(records, baselines)
    found = affinities("pairwise/zero_shot", {}, plan, cells, ("a@x", "b@x"))
    assert found.affinity_TT[0, 1] == pytest.approx(0.2)
    assert found.signed


def test_a_task_helps_where_the_rest_is_worse_without_it():
    everything = cell(TASKS, "b@x", 0.8)
    records, baselines = [everything], {}
    for left_out, value in (("a@x", 0.6), ("c@x", 0.9)):
        rest = tuple(task for task in TASKS if task != left_out)
        records.append(cell(rest, "b@x", value, name=left_out, stage="leave_one_out", row=((left_out,),)))
        baselines[records[-1].id] = {"full_set": everything.id}
    plan, cells = plan_of(records, baselines)
    found = affinities("leave_one_out/zero_shot", {}, plan, cells, TASKS)
    assert found.affinity_TT[:, 1].tolist() == pytest.approx([0.2, 0.0, -0.1])


def pairwise(target="b@x", value=0.7, **more):
    return cell(("a@x", target), target, value, name="a@x", stage="pairwise", row=(("a@x",),), **more)


def test_a_first_baseline_that_failed_leaves_the_pair_unknown():
    """Over another one its gain would be of another kind."""
    pair, alone, constant = pairwise(), cell(("b@x",), "b@x", 0.6), cell((), "b@x", 0.1, stage="majority")
    other = pairwise("c@x", 0.7)
    plan, cells = plan_of(
        [pair, alone, constant, other],
        {pair.id: {"alone": alone.id, "majority": constant.id}, other.id: {"majority": constant.id}},
    )
    cells[alone.id] = alone.model_copy(update={"status": "failed"})
    found = affinities("pairwise/zero_shot", {}, plan, cells, TASKS)
    assert ("a@x", "b@x") in found.unknown
    assert found.affinity_TT[0, 2] == pytest.approx(0.6)


def test_gains_of_different_metrics_are_shares_of_the_way_to_perfect():
    pair, alone = pairwise(), cell(("b@x",), "b@x", 0.6)
    bits = {"metric": "bits", "best": 0.0, "scores": {"bits": MetricValue(value=6, low=6, high=6)}}
    slow = cell(("c@x",), "c@x", 8.0, higher=False).model_copy(
        update=bits | {"scores": {"bits": MetricValue(value=8, low=8, high=8)}}
    )
    other = pairwise("c@x", 6.0, higher=False).model_copy(update=bits)
    plan, cells = plan_of(
        [pair, alone, other, slow], {pair.id: {"alone": alone.id}, other.id: {"alone": slow.id}}
    )
    found = affinities("pairwise/zero_shot", {}, plan, cells, TASKS)
    assert found.affinity_TT[0, 1:].tolist() == pytest.approx([0.25, 0.25])


def test_an_unknown_name_is_said():
    with pytest.raises(RunError, match=r"--by gues: neither predicted nor measured.*; did you mean guess"):
        affinities("gues", matrix({("a@x", "b@x"): 1.0}), None, {}, TASKS)
    with pytest.raises(RunError, match="no value of any single task"):
        affinities("guess", matrix({("group", "b@x"): 1.0}), None, {}, TASKS)


GROUPS = GroupPlan(
    by="guess",
    signed=True,
    method="exact",
    budget=2,
    groups=(("a@x", "b@x"), ("c@x",)),
    serves={"a@x": 0, "b@x": 0, "c@x": 1},
    predicted={"a@x": 0.1, "b@x": 0.2, "c@x": 0.0},
)


def tried(a=0.9, b=0.4, noise=0.01, **more):
    return [
        cell(("a@x", "b@x"), "a@x", a, noise=noise, **more),
        cell(("b@x", "a@x"), "b@x", b, noise=noise, **more),  # the order of a group's tasks means nothing
        cell(("c@x",), "c@x", 0.5),
        cell(("a@x",), "a@x", 0.6, **more),
        cell(("b@x",), "b@x", 0.6, **more),
        *(cell(TASKS, task, 0.7, name="joint", **more) for task in TASKS),
    ]


def test_a_run_of_the_groups_says_what_came_true():
    a, b, c = outcomes(GROUPS, *plan_of(tried()))
    assert (a.verdict, b.verdict, c.verdict) == ("as predicted", "refuted", "alone")
    assert a.over_alone.value == pytest.approx(0.3)
    assert a.over_alone.low < 0.3 < a.over_alone.high
    assert b.over_joint.value == pytest.approx(-0.3)
    assert (c.over_alone, c.group) == (None, ("c@x",))


def test_a_prediction_of_nothing_does_not_come_true_by_a_harm():
    nothing = GROUPS.model_copy(update={"predicted": dict.fromkeys(GROUPS.predicted, 0.0)})
    assert [found.verdict for found in outcomes(nothing, *plan_of(tried()))] == [
        "refuted",
        "refuted",
        "alone",
    ]


def test_a_gain_that_may_be_chance_decides_nothing():
    assert outcomes(GROUPS, *plan_of(tried(a=0.61, noise=0.3)))[0].verdict == "undecided"


def test_lower_scores_can_be_gains():
    a, b, _ = outcomes(GROUPS, *plan_of(tried(higher=False)))
    assert (a.over_alone.value, a.verdict) == (pytest.approx(-0.3), "refuted")
    assert (b.over_alone.value, b.verdict) == (pytest.approx(0.2), "as predicted")
    assert b.over_alone.low < 0.2 < b.over_alone.high


def test_a_run_that_has_not_tried_the_groups_is_told_so():
    with pytest.raises(RunError, match=r"no measured cell full/zero_shot: a@x → a@x"):
        outcomes(GROUPS, *plan_of([r for r in tried() if r.key.source != "a@x"]))
