"""Forgetting and transfer of sequences, by hand: Lopez-Paz and Ranzato 2017, Chaudhry et al. 2018."""

from __future__ import annotations

import pytest

from sslm_platform.report.records import CellKey, CellRecord, MetricValue, PlannedCell, TaskInfo, TransferPlan
from sslm_platform.report.sequence_tables import sequence_tables
from sslm_platform.report.sequences import sequence_scores

TASKS = ("s@a", "s@b", "s@c")
MATRIX = ((0.80, 0.55, 0.50), (0.70, 0.90, 0.60), (0.74, 0.84, 0.85))  # row k: after stage k
FLOOR = (0.5, 0.45, 0.4)


def info(identity):
    name, _, domain = identity.partition("@")
    counts = dict.fromkeys(("num_train", "num_dev", "num_test", "num_available"), 10)
    return TaskInfo(identity=identity, name=name, domain=domain, stream=domain, **counts)


def key(stages, target, seed, source_stage="sequential"):
    row = tuple((task,) for task in stages)
    tasks = tuple(stages)
    return CellKey(
        source_stage=source_stage,
        target_stage="zero_shot",
        source=" → ".join(stages),
        source_tasks=tasks,
        row=row if source_stage == "sequential" else (),
        target=target,
        seed=seed,
    )


def record(id_, cell, value, *, metric="accuracy", better=True, best=1.0, spread=0.02):
    resamples = tuple(value + spread * (n % 5 - 2) for n in range(50))
    shown = MetricValue(value=value, low=value - spread, high=value + spread)
    facts = {"metric": metric, "higher_is_better": better, "best": best, "scores": {metric: shown}}
    return CellRecord(id=id_, key=cell, status="done", resamples=resamples, num_test=30, **facts)


def made(matrix=MATRIX, floor=FLOOR, pretrained=None, seeds=(1,), shift=lambda seed: 0.0, **given):
    """Return plan and records of one sequence through TASKS whose scores are the matrix."""
    planned, records = [], {}

    def add(cell, value, baselines=None, is_baseline=False, metric=None):
        id_ = f"{cell.protocol}-{cell.source}-{cell.target}-{cell.seed}"
        facts = given | ({"metric": metric} if metric else {})
        records[id_] = record(id_, cell, value, **facts)
        planned.append(PlannedCell(id=id_, key=cell, baselines=baselines or {}, is_baseline=is_baseline))
        return id_

    for seed in seeds:
        for j, target in enumerate(TASKS):
            majority = add(key((), target, seed, "majority"), floor[j], is_baseline=True)
            baselines = {"majority": majority}
            if pretrained is not None:
                baselines["pretrained"] = add(key((), target, seed, "none"), pretrained[j], is_baseline=True)
            for k in range(len(TASKS)):
                add(key(TASKS[: k + 1], target, seed), matrix[k][j] + shift(seed), baselines)
    return TransferPlan(cells=tuple(planned), tasks={name: info(name) for name in TASKS}), records


def values(estimates):
    return [pytest.approx(e.value) for e in estimates]


def test_the_figures_are_those_of_the_papers():
    (found,) = sequence_scores(*made())
    assert found.name == "s@a → s@b → s@c"
    assert values(found.accuracy) == [0.80, (0.70 + 0.90) / 2, (0.74 + 0.84 + 0.85) / 3]
    assert found.backward.value == pytest.approx(((0.74 - 0.80) + (0.84 - 0.90)) / 2)
    assert found.forward.value == pytest.approx(((0.55 - 0.45) + (0.60 - 0.40)) / 2)
    assert values(found.forgetting) == [0.80 - 0.70, ((0.80 - 0.74) + (0.90 - 0.84)) / 2]


def test_forward_transfer_is_over_the_pretrained_encoder_where_there_is_one():
    (found,) = sequence_scores(*made(pretrained=(0.6, 0.52, 0.61)))
    assert found.forward.value == pytest.approx(((0.55 - 0.52) + (0.60 - 0.61)) / 2)


def test_an_undefined_cell_changes_no_figure():
    plan, records = made(pretrained=(0.55, 0.5, 0.45))
    other = PlannedCell(id="none", key=key((TASKS[0], "s@d"), TASKS[1], 1), undefined="two adapters")
    before = sequence_scores(plan, records)
    after = sequence_scores(plan.model_copy(update={"cells": (*plan.cells, other)}), records)
    assert after[0] == before[0]


def test_forgetting_is_from_the_best_that_was_and_backward_transfer_from_what_was_learned():
    better_later = ((0.80, 0.5, 0.5), (0.88, 0.9, 0.5), (0.84, 0.9, 0.8))
    (found,) = sequence_scores(*made(better_later))
    assert values(found.forgetting) == [-0.08, (0.88 - 0.84 + 0.0) / 2]
    assert found.backward.value == pytest.approx((0.84 - 0.80 + 0.0) / 2)


def test_where_less_is_better_forgetting_is_a_rise():
    losses = ((1.0, 3.0, 3.0), (1.5, 1.2, 2.5), (1.4, 1.0, 1.1))
    (found,) = sequence_scores(*made(losses, floor=(4.0, 4.0, 4.0), better=False, best=0.0, metric="bits"))
    assert values(found.accuracy) == [1.0, (1.5 + 1.2) / 2, (1.4 + 1.0 + 1.1) / 3]
    assert values(found.forgetting) == [0.5, ((1.4 - 1.0) + (1.0 - 1.2)) / 2]
    assert found.backward.value == pytest.approx(-((1.4 - 1.0) + (1.0 - 1.2)) / 2)
    assert found.forward.value == pytest.approx(((4.0 - 3.0) + (4.0 - 2.5)) / 2)


def test_seeds_are_averaged_and_the_interval_is_of_paired_differences():
    """A shift that a seed gives to every score changes no difference."""
    plan, records = made(seeds=(1, 2, 3, 4, 5), shift=lambda seed: 0.01 * (seed - 3))
    (found,) = sequence_scores(plan, records)
    assert found.accuracy[2].value == pytest.approx((0.74 + 0.84 + 0.85) / 3)
    assert found.backward.high - found.backward.low == pytest.approx(0, abs=1e-9)
    assert found.accuracy[0].high - found.accuracy[0].low > 0.01


def test_a_sequence_of_different_metrics_is_in_shares():
    plan, records = made(floor=(0.5, 0.5, 0.5))
    renamed = {
        id_: r.model_copy(update={"metric": "f1", "scores": {"f1": r.scores["accuracy"]}})
        if r.key.target == "s@c"
        else r
        for id_, r in records.items()
    }
    (found,) = sequence_scores(plan, renamed)
    assert found.metric == ""
    shares = [(value - 0.5) / 0.5 for value in MATRIX[2]]
    assert found.accuracy[2].value == pytest.approx(sum(shares) / 3)


def test_what_was_not_measured_is_missing_and_the_rest_is_there():
    plan, records = made()
    without = {k: r for k, r in records.items() if (r.key.row, r.key.target) != ((("s@a",),), "s@b")}
    (found,) = sequence_scores(plan, without)
    assert found.forward is None
    assert found.backward is not None
    (table,) = sequence_tables([found])
    assert table.body[0][0] == "a → b → c"
    assert table.body[0][-1] == "missing"
    assert table.body[0][1].startswith("80.0 ")
    assert sequence_scores(plan, {})[0].accuracy == (None, None, None)
