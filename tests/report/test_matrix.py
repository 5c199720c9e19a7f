from __future__ import annotations

import numpy as np
import pytest

from sslm_platform.errors import RunError
from sslm_platform.report.matrix import Cell, Relation, State, build_matrix, mean_over
from sslm_platform.report.numbers import scale_of
from sslm_platform.report.records import CellKey, CellRecord, MetricValue, PlannedCell, TaskInfo, TransferPlan
from sslm_platform.report.views import families
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


def test_no_mean_is_of_different_metrics():
    error = {
        "metric": "mse",
        "higher_is_better": False,
        "scores": {"mse": MetricValue(value=2, low=1, high=3)},
    }
    items = [record("1", key("s@a", "s@b"), 0.6), record("2", key("s@a", "t@a"), 2.0, **error)]
    cells = plan(*((item.id, item.key, {}) for item in items))
    matrix = build_matrix(cells, records(*items), protocol="full/probe")
    assert mean_over(matrix, lambda cell: True) is None
    assert mean_over(matrix, lambda cell: cell.metric == "f1").estimate.value == pytest.approx(0.6)


def test_the_row_of_a_baseline_is_what_the_gains_are_over():
    """Of two seeds one asks for the probe of the pretrained encoder itself, too."""
    planned, found = [], []
    for seed, (value, base) in enumerate(((0.8, 0.6), (0.9, 0.7)), 1):
        below = record(f"none{seed}", key("", "s@b", seed, ("none", "probe")), base)
        above = record(f"full{seed}", key("s@a", "s@b", seed), value)
        found += [below, above]
        planned.append(PlannedCell(id=below.id, key=below.key, is_baseline=seed == 2))
        planned.append(PlannedCell(id=above.id, key=above.key, baselines={"pretrained": below.id}))
    family = next(
        f for f in families(TransferPlan(cells=tuple(planned), tasks=TASKS), records(*found))
        if f.protocol == "full/probe"
    )  # fmt: skip
    (floor,) = family.floor["pretrained"].all_cells
    (gain,) = (matrix for matrix in family.gains if matrix.baseline == "pretrained")
    assert floor.estimate.value == pytest.approx(0.65)
    (cell,) = gain.all_cells
    assert cell.score - floor.estimate.value == pytest.approx(cell.estimate.value)


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


def difference(value: str, **changes: float) -> Cell:
    """One cell of a matrix in which source a scores .7 on b, b itself .9, and the majority .5."""
    scores = {"ours": 0.7, "own": 0.9, "floor": 0.5} | changes
    keys = {
        "ours": key("s@a", "s@b"),
        "own": key("s@b", "s@b"),
        "floor": key("", "s@b", stages=("majority", "probe")),
    }
    items = [record(name, keys[name], scores[name]) for name in keys]
    cells = plan(*((name, keys[name], {"majority": "floor"}) for name in ("ours", "own")))
    return build_matrix(cells, records(*items), protocol="full/probe", value=value).cells["s@a", "s@b"]


def test_normalised_is_the_share_of_the_way_to_perfect():
    cell = difference("normalised")
    assert cell.estimate.value == pytest.approx(0.2 / 0.5)
    gain = difference("normalised", ours=0.6).estimate.value
    assert gain == pytest.approx(0.2)
    assert difference("normalised", floor=1.0).state is State.UNDEFINED


def test_gap_is_what_in_domain_training_gains_and_the_source_does_not():
    assert difference("gap").estimate.value == pytest.approx(-0.5)
    assert difference("gap", ours=0.9).estimate.value == pytest.approx(0)
    assert difference("gap", ours=0.5).estimate.value == pytest.approx(-1)
    assert difference("gap", own=0.5).state is State.UNDEFINED
    assert difference("gap").harms


def test_a_share_has_the_significance_of_its_gain():
    """The unit is taken as given: it changes the scale of value, interval and detectable effect, no more."""
    keys = key("s@a", "s@b"), key("", "s@b", stages=("majority", "probe"))
    items = record("ours", keys[0], 0.52, spread=0.01), record("floor", keys[1], 0.5)
    cells = plan(("ours", keys[0], {"majority": "floor"}))
    gain, share = (
        build_matrix(cells, records(*items), protocol="full/probe", value=value, baseline="majority")
        for value in ("gain", "normalised")
    )
    assert share.all_cells[0].p == pytest.approx(gain.all_cells[0].p)
    assert share.all_cells[0].estimate.high == pytest.approx(2 * gain.all_cells[0].estimate.high)
    assert share.detectable == pytest.approx([2 * bound for bound in gain.detectable])


def test_shares_of_different_metrics_can_be_averaged():
    """A gain of .1 on f1 from .6, a quarter of what is left; perplexity from 21 to 11, half of it."""
    base = {"s@b": 0.6, "t@a": 21.0}
    ours = {"s@b": 0.7, "t@a": 11.0}
    items, cells = [], []
    for target, metric in (("s@b", "f1"), ("t@a", "ppl")):
        more = {"metric": metric, "higher_is_better": metric == "f1", "best": 1.0}
        keys = key("s@a", target), key("", target, stages=("majority", "probe"))
        for name, cell_key, value in (("ours", keys[0], ours[target]), ("base", keys[1], base[target])):
            scores = {metric: MetricValue(value=value, low=value, high=value)}
            items.append(record(f"{name}{target}", cell_key, value, scores=scores, **more))
        cells.append((f"ours{target}", keys[0], {"majority": f"base{target}"}))
    matrix = build_matrix(
        plan(*cells), records(*items), protocol="full/probe", cols="kind", value="normalised"
    )
    cell = matrix.cells["s@a", "x"]
    assert cell.estimate.value == pytest.approx((0.25 + 0.5) / 2)
    assert (cell.metric, cell.score, cell.num_pairs) == ("f1, ppl", None, 2)
    assert scale_of(matrix.all_cells).factor == 100
    with pytest.raises(RunError, match="different metrics"):
        build_matrix(
            plan(*cells), records(*items), protocol="full/probe", cols="kind", value="gain",
            baseline="majority",
        )  # fmt: skip


def test_q_values_are_of_the_matrix_that_is_shown():
    """Nine cells without an effect and one that has p = .02: alone it is a discovery, among ten it is not."""
    rng = np.random.default_rng(0)
    items, cells = [], []
    domains = [f"d{i}" for i in range(10)]
    for i, domain in enumerate(domains):
        noise_R = 0.01 * rng.normal(size=NUM_RESAMPLES)
        noise_R *= 0.01 / noise_R.std(ddof=1)
        k, base_key = key(f"s@{domain}", "s@b"), key("", "s@b", stages=("none", "probe"))
        gain = 0.0237 if i == 0 else 0.001 * i
        ours = record(f"x{i}", k, 0.5 + gain, resamples=tuple(0.5 + gain + noise_R), num_test=5000)
        base = record(f"b{i}", base_key, 0.5, resamples=(0.5,) * NUM_RESAMPLES, num_test=5000)
        items += [ours, base]
        cells.append((ours.id, k, {"pretrained": base.id}))
    shown = build_matrix(plan(*cells), records(*items), protocol="full/probe", value="gain")
    alone = build_matrix(plan(cells[0]), records(*items), protocol="full/probe", value="gain")
    assert alone.all_cells[0].p == shown.all_cells[0].p == pytest.approx(0.02, abs=0.003)
    assert alone.all_cells[0].helps
    assert not any(cell.discovery for cell in shown.all_cells)
    assert alone.detectable[0] < shown.detectable[0]


def five_seeds(source: str, target: str, values: list[float], draws: int = 1) -> list[CellRecord]:
    return [
        record(
            f"{source}{target}{seed}{draw}",
            key(source, target, seed).model_copy(update={"draw": draw}),
            value + 0.3 * draw,
            spread=1e-5,
        )
        for seed, value in enumerate(values)
        for draw in range(draws)
    ]


def test_five_seeds_have_an_interval_over_seeds():
    values = [0.5, 0.52, 0.48, 0.53, 0.47]
    for num_seeds, wide in ((4, False), (5, True)):
        items = five_seeds("s@a", "s@b", values[:num_seeds])
        cells = plan(*((item.id, item.key, {}) for item in items))
        cell = build_matrix(cells, records(*items), protocol="full/probe").cells["s@a", "s@b"]
        assert (cell.estimate.high - cell.estimate.low > 0.01) == wide


def test_what_asks_for_a_place_is_not_averaged_with_a_baseline_of_the_same_protocol():
    asked, other = record("asked", key("s@a", "s@b"), 0.7), record("other", key("s@a", "s@b"), 0.5)
    made = plan(("asked", asked.key, {}), ("other", other.key, {}))
    cells = [made.cells[0], made.cells[1].model_copy(update={"is_baseline": True})]
    made = made.model_copy(update={"cells": tuple(cells)})
    matrix = build_matrix(made, records(asked, other), protocol="full/probe")
    assert matrix.cells["s@a", "s@b"].estimate.value == 0.7


def test_a_place_with_few_seeds_does_not_spoil_what_its_column_detects():
    rng, items, baselines = np.random.default_rng(0), [], {}
    for source in ("s@a", "s@c", "s@d"):
        values = (0.6 + 0.02 * rng.normal(size=2 if source == "s@d" else 5)).tolist()
        for item in five_seeds(source, "s@b", values):
            base = record(f"base{item.key.seed}", key("", "s@b", item.key.seed, ("none", "probe")), 0.5, 1e-5)
            baselines[item.id] = {"pretrained": base.id}
            items += [item, base]
    kept = records(*items)
    cells = plan(*((item.id, item.key, baselines.get(item.id, {})) for item in kept.values()))
    found = build_matrix(cells, kept, protocol="full/probe", value="gain").cells
    assert found["s@d", "s@b"].inference.conditional
    assert found["s@a", "s@b"].detectable == found["s@c", "s@b"].detectable < 0.2


def test_a_scores_interval_ends_at_perfect():
    items = five_seeds("s@a", "s@b", [0.9, 0.99, 1.0, 0.99, 0.95])
    cells = plan(*((item.id, item.key, {}) for item in items))
    cell = build_matrix(cells, records(*items), protocol="full/probe").cells["s@a", "s@b"]
    assert cell.estimate.high == 1.0


def test_draws_of_a_seed_are_one_repetition_and_of_a_single_seed_five():
    """Draws share their seed's source: 5 seeds of 2 draws are 5 repetitions, 1 seed of 5 draws is 5 draws."""
    crossed = five_seeds("s@a", "s@b", [0.5, 0.52, 0.48, 0.53, 0.47], draws=2)
    drawn = five_seeds("s@a", "s@b", [0.5], draws=5)
    for items, seeds, value in ((crossed, 5, 0.65), (drawn, 1, 1.1)):
        cells = plan(*((item.id, item.key, {}) for item in items))
        cell = build_matrix(cells, records(*items), protocol="full/probe").cells["s@a", "s@b"]
        assert cell.sample.num_seeds == 5
        assert len(cell.seeds) == seeds
        assert cell.estimate.value == pytest.approx(value)
    spread = cell.estimate.high - cell.estimate.low
    assert spread > 0.3  # over draws, which differ
