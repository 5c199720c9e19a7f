"""The plan: which cells a spec asks for, what each is compared with, and what changes a cell's name."""

from __future__ import annotations

import json

import pytest

from sslm_platform.errors import SpecError
from sslm_platform.train.joint import joint_id
from sslm_platform.transfer import cells as cells_module
from sslm_platform.transfer.cells import plan_cells
from sslm_platform.transfer.units import units_of


@pytest.fixture
def plan(specs, encoder_folder):
    """Return a function from streams and transfer blocks to the plan."""

    def plan(streams, blocks, *overrides, change=None):
        content = specs.content(*streams, encoder=encoder_folder, transfer=blocks)
        if change is not None:
            change(content)
        return plan_cells(specs.corpus(content, *overrides))

    return plan


def block(source_stage, target_stage, sources=None, targets="all", **more):
    given = {"source_stage": source_stage, "target_stage": target_stage, "targets": targets, **more}
    return given if sources is None else given | {"sources": sources}


SENTIMENT = {"task": "sentiment"}
ZERO_SHOT = block("full", "zero_shot", SENTIMENT, SENTIMENT)


def named(plan):
    """(protocol, source, target, seed) of each cell to its id."""
    return {(c.key.protocol, c.key.source, c.key.target, c.key.seed): c.id for c in plan.cells.values()}


def baselines_of(plan, protocol, source, target):
    (cell,) = (
        c
        for c in plan.cells.values()
        if (c.key.protocol, c.key.source, c.key.target) == (protocol, source, target)
    )
    assert not cell.is_baseline
    found = {name: plan.cells[identity].key for name, identity in cell.baselines.items()}
    assert all(key.seed == cell.key.seed and key.target == target for key in found.values())
    return {name: (key.protocol, key.source) for name, key in found.items()}


@pytest.mark.parametrize(
    ("given", "source", "target", "expected"),
    [
        (
            ZERO_SHOT,
            "sentiment@film",
            "sentiment@shop",
            {
                "head": ("head/zero_shot", "sentiment@film"),
                "tfidf": ("tfidf/zero_shot", "sentiment@film"),
                "majority": ("majority/zero_shot", ""),
            },
        ),
        (
            block("full", "probe", {"task": "mlm"}, SENTIMENT),
            "mlm@film",
            "sentiment@shop",
            {
                "pretrained": ("none/probe", ""),
                "tfidf": ("tfidf/probe", "sentiment@shop"),
                "majority": ("majority/probe", ""),
            },
        ),
        (
            block("full", "finetune", {"task": "mlm"}, {"task": "rating"}),
            "mlm@film",
            "rating@film",
            {"pretrained": ("none/finetune", ""), "majority": ("majority/finetune", "")},
        ),
        (
            block("head", "zero_shot", SENTIMENT, SENTIMENT),
            "sentiment@shop",
            "sentiment@film",
            {"tfidf": ("tfidf/zero_shot", "sentiment@shop"), "majority": ("majority/zero_shot", "")},
        ),
        (
            block("none", "probe", None, {"task": "sentiment", "domain": "shop"}),
            "",
            "sentiment@shop",
            {"tfidf": ("tfidf/probe", "sentiment@shop"), "majority": ("majority/probe", "")},
        ),
        (
            block("none", "finetune", None, {"task": "mlm"}),
            "",
            "mlm@film",
            {"majority": ("majority/finetune", "")},
        ),
        (
            block("full", "probe", "joint", {"task": "rating"}),
            "joint",
            "rating@film",
            {"pretrained": ("none/probe", ""), "majority": ("majority/probe", "")},
        ),
    ],
)
def test_every_protocol_has_its_baselines_in_the_plan(plan, given, source, target, expected):
    made = plan(("films", "shops"), [given])
    protocol = f"{given['source_stage']}/{given['target_stage']}"
    assert baselines_of(made, protocol, source, target) == expected


def test_zero_shot_cells_are_those_with_a_head_that_can_answer(plan):
    made = plan(("films", "shops", "pairs"), [block("full", "zero_shot", "all")])
    asked = {(c.key.source, c.key.target) for c in made.cells.values() if not c.is_baseline}
    sentiment = {(f"sentiment@{a}", f"sentiment@{b}") for a in ("film", "shop") for b in ("film", "shop")}
    own = {(task, task) for task in ("rating@film", "mlm@film", "fits@quiz")}
    assert asked == sentiment | own


def test_blocks_that_ask_for_nothing_or_the_impossible_are_refused(plan):
    with pytest.raises(SpecError, match=r"transfer\[0\]: no source has a head for any target"):
        plan(("films", "shops"), [block("full", "zero_shot", {"task": "mlm"}, SENTIMENT)])
    with pytest.raises(SpecError, match=r"transfer: two blocks ask for full/zero_shot: .* different budgets"):
        plan(("films", "shops"), [ZERO_SHOT, ZERO_SHOT | {"max_steps": 2}])
    groups = [{"by": "domain", "task": ["sentiment", other]} for other in ("mlm", "rating")]
    with pytest.raises(SpecError, match=r"other tasks under the name 'film \(2 tasks\)' in full/zero_shot"):
        plan(("films", "shops"), [block("full", "zero_shot", group, SENTIMENT) for group in groups])
    with pytest.raises(SpecError, match=r"transfer\[0\].targets: mlm@film: a head tied to the embedding"):
        plan(("films",), [block("none", "probe", None, {"task": "mlm"})])


def test_a_cell_asked_for_twice_or_as_a_baseline_too_is_one_cell(plan):
    probe = block("none", "probe", None, SENTIMENT)
    once = plan(("films", "shops"), [block("full", "probe", {"task": "mlm"}, SENTIMENT), probe])
    turned = plan(("films", "shops"), [probe, block("full", "probe", {"task": "mlm"}, SENTIMENT), probe])
    assert named(once) == named(turned)
    for made in (once, turned):
        (cell,) = (
            c
            for c in made.cells.values()
            if (c.key.protocol, c.key.target) == ("none/probe", "sentiment@film")
        )
        assert not cell.is_baseline
        assert set(cell.baselines) == {"tfidf", "majority"}


def test_all_cells_of_one_source_share_its_training(plan):
    made = plan(
        ("films", "shops"),
        [ZERO_SHOT, block("full", "probe", SENTIMENT, SENTIMENT), block("full", "probe", "joint", SENTIMENT)],
    )
    assert len(made.trainings) == 3  # film, shop, joint
    units = units_of(made)
    assert sum(len(unit.cells) for unit in units) == len(made.cells)
    assert units[0].training is None  # what needs no training comes first
    assert len(units) == 4


def test_a_new_domain_adds_cells_and_changes_none(plan):
    blocks = [ZERO_SHOT, block("full", "probe", {"task": "mlm"}, SENTIMENT)]
    before = named(plan(("films",), blocks))
    after = named(plan(("films", "shops", "names"), blocks))
    assert before.items() <= after.items()
    assert len(after) > len(before)


def test_the_order_of_streams_changes_no_cell(plan):
    blocks = [ZERO_SHOT, block("full", "finetune", {"task": "mlm"}, SENTIMENT)]
    assert named(plan(("films", "shops"), blocks)) == named(plan(("shops", "films"), blocks))


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("streams.shops.tasks.sentiment.metrics=[accuracy]", {"shop"}),
        ("streams.shops.tasks.sentiment.primary_metric=accuracy", {"shop"}),
        ("streams.shops.limit.train=50", {"shop"}),
        ("streams.shops.split.test=0.21", {"shop"}),
        ("schedule.tokens_per_batch=300", {"training"}),
        ("optimizer.lr=0.1", {"training"}),
        ("encoder.max_length=31", {"training", "probe", "head"}),
        ("name=other", set()),
        ("checkpoint.every=7", set()),
        ("evaluation.every=7", set()),
        ("engine.threads=2", set()),
        ("streams.films.tags.language=de", set()),
    ],
)
def test_a_cell_is_named_by_what_it_uses(plan, override, changed):
    """``changed``: cells that mention this domain, have a training, or use the encoder at all."""
    blocks = [ZERO_SHOT, block("none", "probe", None, SENTIMENT)]
    overrides = [override]
    if "split.test" in override:
        overrides.append("streams.shops.split.train=0.69")
    before, after = plan(("films", "shops"), blocks), plan(("films", "shops"), blocks, *overrides)
    kept = set(before.cells) & set(after.cells)
    for cell in before.cells.values():
        uses = {
            "shop": "shop" in cell.key.target or ("shop" in cell.key.source and "metric" not in override),
            "training": cell.training is not None,
            "probe": cell.key.protocol == "none/probe",
            "head": cell.key.source_stage == "head",
        }
        assert (cell.id not in kept) == any(uses[name] for name in changed), cell.key


def test_changed_texts_change_the_cells_that_read_them(plan, specs):
    copied = specs.folder / "shops.jsonl"
    rows = [json.loads(line) for line in (specs.texts / "shops.jsonl").read_text("utf-8").splitlines()]
    rows[0]["text"] += "!"
    copied.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")

    def change(content):
        content["streams"][1]["data"]["path"] = str(copied)

    before = plan(("films", "shops"), [ZERO_SHOT])
    after = plan(("films", "shops"), [ZERO_SHOT], change=change)
    for cell in before.cells.values():
        assert (cell.id in after.cells) == ("shop" not in cell.key.source + cell.key.target), cell.key


def test_another_way_of_probing_makes_new_probes(plan, monkeypatch):
    blocks = [ZERO_SHOT, block("none", "probe", None, SENTIMENT)]
    before = plan(("films", "shops"), blocks)
    monkeypatch.setattr(cells_module, "PROBE", {"solver": "lbfgs", "inverse_l2": [1.0]})
    after = plan(("films", "shops"), blocks)
    for cell in before.cells.values():
        probed = cell.key.protocol == "none/probe" or cell.key.source_stage == "head"
        assert (cell.id not in after.cells) == probed


def test_another_seed_is_another_cell_and_budgets_count(plan):
    base = plan(("films",), [ZERO_SHOT])
    for more in ({"seeds": [4]}, {"max_steps": 2}, {"epochs": 1.0}):
        changed = plan(("films",), [ZERO_SHOT | more])
        full = {c.id for c in base.cells.values() if c.key.source_stage == "full"}
        assert not full & set(changed.cells)
    seeds = plan(("films",), [ZERO_SHOT | {"seeds": [3, 4]}])
    assert set(base.cells) < set(seeds.cells)


def test_the_record_holds_every_cell_and_task(specs, encoder_folder):
    corpus = specs.corpus(specs.content("films", "shops", encoder=encoder_folder, transfer=[ZERO_SHOT]))
    plan = plan_cells(corpus)
    record = plan.record(corpus, joint_id(corpus, 3))
    assert {cell.id for cell in record.cells} == set(plan.cells)
    assert all(identity in plan.cells for cell in record.cells for identity in cell.baselines.values())
    assert set(record.tasks) == set(corpus.run.tasks)
    assert record.tasks["sentiment@shop"].tags == {"language": "zh"}


def test_labels_that_an_objective_makes_itself_have_no_baseline_of_word_counts(plan):
    def change(content):
        task = content["streams"][0]["tasks"][1]
        task |= {"fields": {"text": "text"}, "objective": {"name": "sop"}, "metrics": ["accuracy"]}
        task["head"] = {"name": "sequence_classifier"}

    cells = plan(["films"], [block("full", "probe", SENTIMENT, {"task": "rating"})], change=change).cells
    names = [set(cell.baselines) for cell in cells.values() if not cell.is_baseline]
    assert names == [{"pretrained", "majority"}]


def test_answers_without_a_model_are_no_baseline_of_a_loss(plan):
    """They have none: an empty sum of losses would be perfect."""

    def change(metrics):
        def apply(content):
            task = content["streams"][0]["tasks"][0]
            task |= {"fields": {"text": "text", "target": "label"}, "objective": {"name": "teacher_forcing"}}
            task |= {"head": {"name": "decoder"}, "metrics": metrics}

        return apply

    def names(metrics):
        made = plan(["films"], [block("none", "finetune", None, SENTIMENT)], change=change(metrics))
        (cell,) = (cell for cell in made.cells.values() if not cell.is_baseline)
        return set(cell.baselines)

    assert names(["chrf", "bits_per_token"]) == {"copy", "lead", "majority"}
    assert names(["bits_per_token", "chrf"]) == {"majority"}
