from __future__ import annotations

import numpy as np
import pytest

from sslm_platform.errors import RunError
from sslm_platform.report.matrix import Relation, State, build_matrix, mean_over
from sslm_platform.report.records import CellKey, CellRecord, MetricValue, PlannedCell, TaskInfo, TransferPlan
from sslm_platform.statistics import percentile_interval

NUM_RESAMPLES = 200


def task(name: str, domain: str, **tags: str) -> TaskInfo:
    identity = f"{name}@{domain}"
    return TaskInfo(
        identity=identity,
        name=name,
        domain=domain,
        stream=domain,
        tags=tags,
        num_train=10,
        num_dev=5,
        num_test=5,
        num_available=20,
    )


TASKS = {
    t.identity: t
    for t in (
        task("s", "a", lang="en", kind="x"),
        task("s", "b", lang="de", kind="x"),
        task("t", "a", lang="en", kind="x"),
    )
}


def key(source: str, target: str, seed: int = 1, stages: tuple[str, str] = ("full", "probe")) -> CellKey:
    return CellKey(
        source_stage=stages[0],
        target_stage=stages[1],
        source=source,
        source_tasks=tuple(source.split("+")) if source else (),
        target=target,
        seed=seed,
    )


def record(id_: str, cell_key: CellKey, value: float, spread: float = 0.01, **changes: object) -> CellRecord:
    resamples_R = value + spread * np.random.default_rng(len(id_) + sum(id_.encode())).normal(
        size=NUM_RESAMPLES
    )
    low, high = percentile_interval(resamples_R)
    facts = {
        "id": id_,
        "key": cell_key,
        "status": "done",
        "metric": "f1",
        "scores": {"f1": MetricValue(value=value, low=low, high=high)},
        "resamples": tuple(resamples_R),
        "num_train": 10,
        "num_test": 50,
    }
    return CellRecord.model_validate(facts | changes)


def failed(id_: str, cell_key: CellKey) -> CellRecord:
    return record(id_, cell_key, 0.0, status="failed", error="loss is nan", scores={}, resamples=())


def plan(*cells: tuple[str, CellKey, dict[str, str]]) -> TransferPlan:
    planned = (PlannedCell(id=id_, key=k, baselines=baselines) for id_, k, baselines in cells)
    return TransferPlan(cells=tuple(planned), tasks=TASKS)


def records(*items: CellRecord) -> dict[str, CellRecord]:
    return {item.id: item for item in items}


def test_a_score_is_the_records_own_with_its_interval():
    cell = record("x", key("s@a", "s@b"), 0.8)
    matrix = build_matrix(plan(("x", cell.key, {})), records(cell), protocol="full/probe")
    assert (matrix.rows, matrix.cols) == (("s@a",), ("s@b",))
    shown = matrix.cells["s@a", "s@b"].estimate
    assert shown is not None
    assert cell.scores["f1"] == MetricValue(value=shown.value, low=shown.low, high=shown.high)


def test_every_gap_has_its_word_and_no_number():
    keys = [key(source, target) for source in ("s@a", "s@b") for target in ("s@a", "s@b", "t@a")]
    cells = plan(
        ("never", keys[0], {"pretrained": "base"}),
        ("broken", keys[1], {"pretrained": "base"}),
        ("alone", keys[2], {}),
        ("orphan", keys[3], {"pretrained": "broken"}),
        ("waiting", keys[4], {"pretrained": "never"}),
    )
    known = records(
        failed("broken", keys[1]),
        *(record(i, k, 0.5) for i, k in zip(["alone", "orphan", "waiting"], keys[2:5], strict=True)),
    )
    matrix = build_matrix(cells, known, protocol="full/probe", value="gain")
    states = [[matrix.cells[row, col].state for col in matrix.cols] for row in matrix.rows]
    assert states == [
        [State.MISSING, State.FAILED, State.NO_BASELINE],
        [State.NO_BASELINE, State.NO_BASELINE, State.NOT_PLANNED],
    ]
    assert all(cell.estimate is None for cell in matrix.all_cells)
    assert matrix.cells["s@a", "s@b"].error == "loss is nan"
    assert mean_over(matrix, lambda cell: True) is None


def test_gains_are_paired_by_resample():
    base = record("base", key("", "s@b", stages=("none", "probe")), 0.7, spread=0.05)
    better = base.model_copy(
        update={
            "id": "x",
            "key": key("s@a", "s@b"),
            "scores": {"f1": MetricValue(value=0.72, low=0.6, high=0.8)},
            "resamples": tuple(value + 0.02 for value in base.resamples),
        }
    )
    cells = plan(("x", better.key, {"pretrained": "base"}))
    matrix = build_matrix(cells, records(base, better), protocol="full/probe", value="gain")
    cell = matrix.cells["s@a", "s@b"]
    assert cell.estimate is not None
    assert (cell.estimate.value, cell.estimate.low, cell.estimate.high) == pytest.approx((0.02, 0.02, 0.02))
    assert cell.baselines == {"pretrained": 0.7}
    assert cell.score == 0.72


def test_lower_is_better_turns_the_gain_round():
    base = record("base", key("", "s@b", stages=("none", "probe")), 30.0, higher_is_better=False)
    ours = record("x", key("s@a", "s@b"), 20.0, higher_is_better=False)
    cells = plan(("x", ours.key, {"pretrained": "base"}))
    matrix = build_matrix(cells, records(base, ours), protocol="full/probe", value="gain")
    estimate = matrix.cells["s@a", "s@b"].estimate
    assert estimate is not None
    assert estimate.value == pytest.approx(10)
    assert matrix.cells["s@a", "s@b"].helps


def test_seeds_are_paired_then_averaged():
    items, cells = [], []
    for seed, ours, theirs in ((1, 0.8, 0.7), (2, 0.6, 0.4)):
        items += [
            record(f"x{seed}", key("s@a", "s@b", seed), ours),
            record(f"b{seed}", key("", "s@b", seed, ("none", "probe")), theirs),
        ]
        cells.append((f"x{seed}", items[-2].key, {"pretrained": f"b{seed}"}))
    matrix = build_matrix(plan(*cells), records(*items), protocol="full/probe", value="gain")
    cell = matrix.cells["s@a", "s@b"]
    assert cell.estimate is not None
    assert cell.estimate.value == pytest.approx(0.15)
    assert cell.seeds == (1, 2)
    assert cell.num_pairs == 1
    assert cell.num_test == 50
    without = {id_: item for id_, item in records(*items).items() if id_ != "b2"}
    half = build_matrix(plan(*cells), without, protocol="full/probe", value="gain").cells["s@a", "s@b"]
    assert half.estimate is not None
    assert half.estimate.value == pytest.approx(0.1)
    assert half.left_out == {State.NO_BASELINE: 1}


def test_coarser_axes_average_and_say_how_many():
    items = [
        record("1", key("s@a", "s@b"), 0.6),
        record("2", key("s@b", "s@a"), 0.8),
        record("3", key("s@a", "t@a"), 0.5),
    ]
    cells = plan(*((item.id, item.key, {}) for item in items))
    matrix = build_matrix(cells, records(*items), protocol="full/probe", rows="task", cols="task")
    cell = matrix.cells["s", "s"]
    assert cell.estimate is not None
    assert cell.estimate.value == pytest.approx(0.7)
    assert (cell.num_pairs, cell.num_test) == (2, 100)
    by_tag = build_matrix(cells, records(*items), protocol="full/probe", rows="lang", cols="lang")
    assert set(by_tag.cells) == {(row, col) for row in ("en", "de") for col in ("en", "de")}


def test_an_unknown_axis_names_the_nearest():
    item = record("1", key("s@a", "s@b"), 0.6)
    with pytest.raises(RunError, match="did you mean domain"):
        build_matrix(plan(("1", item.key, {})), records(item), protocol="full/probe", rows="domian")


def test_a_mean_over_different_metrics_is_refused():
    items = [
        record("1", key("s@a", "s@b"), 0.6),
        record(
            "2", key("s@a", "t@a"), 0.8, metric="ppl", scores={"ppl": MetricValue(value=9, low=8, high=10)}
        ),
    ]
    cells = plan(*((item.id, item.key, {}) for item in items))
    with pytest.raises(RunError, match="different metrics"):
        build_matrix(cells, records(*items), protocol="full/probe", cols="kind")


def test_relations_tell_transfer_from_training_on_the_target():
    items = [record(str(i), key(s, "s@a"), 0.5 + i / 10) for i, s in enumerate(("s@a", "s@a+s@b", "s@b"))]
    cells = plan(*((item.id, item.key, {}) for item in items))
    matrix = build_matrix(cells, records(*items), protocol="full/probe")
    relations = [matrix.cells[row, "s@a"].relation for row in matrix.rows]
    assert relations == [Relation.SAME, Relation.INCLUDES, Relation.APART]
    mean = mean_over(matrix, lambda cell: cell.relation is Relation.APART)
    assert mean is not None
    assert (mean.estimate.value, mean.count, mean.planned) == (pytest.approx(0.7), 1, 1)


def test_different_numbers_of_resamples_leave_no_interval():
    base = record("base", key("", "s@b", stages=("none", "probe")), 0.7)
    ours = record("x", key("s@a", "s@b"), 0.9, resamples=(0.9, 0.9))
    cells = plan(("x", ours.key, {"pretrained": "base"}))
    matrix = build_matrix(cells, records(base, ours), protocol="full/probe", value="gain")
    estimate = matrix.cells["s@a", "s@b"].estimate
    assert estimate is not None
    assert (estimate.low, estimate.high) == (None, None)
    assert matrix.cells["s@a", "s@b"].inference is None
    assert not matrix.cells["s@a", "s@b"].discovery
    assert matrix.detectable is None
