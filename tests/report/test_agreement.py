"""Predicted against measured, from records made up for it."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from scipy.stats import kendalltau

from sslm_platform.report.agreement import agreements, measured_scores
from sslm_platform.report.predictions import Prediction, predicted_matrices, prediction_cost
from sslm_platform.report.records import CellKey, CellRecord, MetricValue, PlannedCell, TransferPlan

SOURCES = ("a@x", "b@x", "c@x", "d@x", "e@x")
NUM_RESAMPLES = 400


def cell(source, target, value, *, seed=1, noise=0.0, higher=True, stage="full", status="done"):
    key = CellKey(source_stage=stage, target_stage="probe", source=source, source_tasks=(source,),
                  target=target, seed=seed)  # fmt: skip
    rng = np.random.default_rng(zlib.crc32(f"{source} {target} {seed}".encode()))
    return CellRecord(
        id=f"{source}-{target}-{seed}-{stage}",
        key=key,
        status=status,
        metric="accuracy",
        higher_is_better=higher,
        scores={"accuracy": MetricValue(value=value, low=value, high=value)},
        resamples=tuple((value + noise * rng.normal(size=NUM_RESAMPLES)).tolist()),
    )


def plan_of(records, baselines=()):
    cells = [PlannedCell(id=r.id, key=r.key, is_baseline=r.id in baselines) for r in records]
    return TransferPlan(cells=tuple(cells), tasks={}), {record.id: record for record in records}


def prediction(source, target, value, estimator="guess", **more):
    status = "undefined" if value is None else "done"
    return Prediction(
        id=f"{estimator}-{source}-{target}",
        estimator=estimator,
        signed=False,
        source=source,
        source_tasks=(source,),
        target=target,
        seed=1,
        status=status,
        value=value,
        **more,
    )


def compare(records, predictions, **more):
    return agreements(predicted_matrices(predictions).values(), *plan_of(records, **more))


def test_a_perfect_and_a_reversed_prediction():
    records = [cell(s, t, 0.1 * i) for t in ("t@x", "u@x") for i, s in enumerate(SOURCES)]
    right = [prediction(s, t, i, "right") for t in ("t@x", "u@x") for i, s in enumerate(SOURCES)]
    wrong = [prediction(s, t, -i, "wrong") for t in ("t@x", "u@x") for i, s in enumerate(SOURCES)]
    best, worst = compare(records, [*wrong, *right])
    assert (best.estimator, best.protocol, best.targets) == ("right", "full/probe", ("t@x", "u@x"))
    assert (best.kendall.value, best.spearman.value) == (1.0, pytest.approx(1.0))
    assert {k: f.value for k, f in best.regret.items()} == {1: 0.0, 3: 0.0}
    assert {k: f.value for k, f in best.recall.items()} == {1: 1.0, 3: 1.0}
    assert (worst.kendall.value, worst.regret[1].value, worst.recall[1].value) == (-1.0, 1.0, 0.0)


def test_the_mean_is_over_targets_and_each_ranks_its_own_sources():
    """One target's scores are all higher than the other's: ranked together they would look predictable."""
    rng = np.random.default_rng(0)
    measured = {(s, t): high + rng.normal() for t, high in (("t@x", 0.0), ("u@x", 100.0)) for s in SOURCES}
    guessed = {pair: value + rng.normal() for pair, value in measured.items()}
    (found,) = compare(
        [cell(*p, v) for p, v in measured.items()], [prediction(*p, v) for p, v in guessed.items()]
    )
    taus = [kendalltau([guessed[s, t] for s in SOURCES], [measured[s, t] for s in SOURCES])[0]
            for t in ("t@x", "u@x")]  # fmt: skip
    assert found.kendall.value == pytest.approx(np.mean(taus))
    assert len(found.points) == 10


def test_lower_is_better_turns_the_order():
    records = [cell(s, "t@x", 0.1 * i, higher=False) for i, s in enumerate(SOURCES)]
    (found,) = compare(records, [prediction(s, "t@x", -i) for i, s in enumerate(SOURCES)])
    assert found.kendall.value == 1.0


def test_own_data_baselines_failures_and_undefined_pairs_do_not_count():
    records = [cell(s, "e@x", value) for s, value in zip(SOURCES, [0.1, 0.2, 0.3, 0.9, 1.0], strict=True)]
    records[3] = records[3].model_copy(update={"status": "failed"})
    extra = cell("f@x", "e@x", 0.0)
    predictions = [prediction(s, "e@x", i) for i, s in enumerate(SOURCES)]
    predictions += [prediction("f@x", "e@x", 99.0), prediction("g@x", "e@x", None, reason="no labels")]
    (found,) = compare([*records, extra, cell("g@x", "e@x", 0.0)], predictions, baselines={extra.id})
    assert {p.source for p in found.points} == {"a@x", "b@x", "c@x"}
    assert found.num_sources == (3, 3)
    assert list(found.regret) == [1]  # of three sources, the best three are all


def test_a_target_without_an_order_is_left_out():
    records = [cell(s, "t@x", 0.5) for s in SOURCES] + [cell("a@x", "u@x", 0.5)]
    assert (
        compare(records, [prediction(s, t, i) for i, s in enumerate(SOURCES) for t in ("t@x", "u@x")]) == []
    )


def test_an_estimator_that_cannot_tell_sources_apart_is_no_good():
    records = [cell(s, "t@x", 0.1 * i) for i, s in enumerate(SOURCES)]
    (found,) = compare(records, [prediction(s, "t@x", 1.0) for s in SOURCES])
    assert (found.kendall.value, found.regret[1].value, found.recall[1].value) == (0.0, 1.0, 0.0)


def test_seeds_are_averaged():
    records = [cell(s, "t@x", v, seed=seed) for s, vs in (("a@x", (0.0, 0.9)), ("b@x", (0.4, 0.4)),
               ("c@x", (0.1, 0.2))) for seed, v in enumerate(vs)]  # fmt: skip
    plan, cells = plan_of(records)
    values = {pair[0]: score.value for pair, score in measured_scores(plan, cells)["full/probe"].items()}
    assert values == pytest.approx({"a@x": 0.45, "b@x": 0.4, "c@x": 0.15})


def test_intervals_widen_with_noise_and_hold_the_value():
    widths = []
    for noise in (0.0, 0.05, 0.5):
        targets = [f"t{i}@x" for i in range(4)]
        records = [cell(s, t, 0.1 * i, noise=noise) for t in targets for i, s in enumerate(SOURCES)]
        (found,) = compare(records, [prediction(s, t, i % 4) for t in targets for i, s in enumerate(SOURCES)])
        assert found.kendall.low <= found.kendall.value <= found.kendall.high <= 1.0
        widths.append(found.kendall.high - found.kendall.low)
    assert widths[0] == 0.0  # the same in all targets, and measured without error
    assert widths[0] < widths[1] < widths[2]


def test_shared_evidence_is_paid_once():
    shared = {"features:t1:t@x": 2.0, "model:t1": 1.0}
    made = [prediction("a@x", "t@x", 1.0, e, seconds=0.5, evidence=shared, training="t1") for e in "pq"]
    made.append(prediction("b@x", "t@x", 1.0, "p", seconds=0.5, evidence={"model:t2": 1.0}, training="t2"))
    cost = prediction_cost(made)
    assert (cost.own, cost.evidence, cost.trainings) == (1.5, 4.0, 2)
