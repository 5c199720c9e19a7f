"""How selectors become trainings: what is trained, for how long, compared with what, and shared by whom."""

from __future__ import annotations

import pytest

from sslm_platform.errors import SpecError
from sslm_platform.transfer.cells import plan_cells

SENTIMENT = {"task": "sentiment"}
SHOP, FILM = SENTIMENT | {"domain": "shop"}, SENTIMENT | {"domain": "film"}


@pytest.fixture
def plan(specs, encoder_folder):
    """Return a function from transfer blocks to the plan of three sentiment domains and masking."""

    def plan(*blocks, change=None, **sections):
        content = specs.content("films", "shops", encoder=encoder_folder, transfer=list(blocks), **sections)
        third = content["streams"][1] | {"name": "third", "domain": "town", "tags": {"language": "zh"}}
        content["streams"].append(third)
        if change is not None:
            change(content)
        return plan_cells(specs.corpus(content))

    return plan


def block(source_stage, sources, targets=SENTIMENT, target_stage="zero_shot", **more):
    given = {"source_stage": source_stage, "target_stage": target_stage, "max_steps": 6}
    return given | {"sources": sources, "targets": targets} | more


def of(plan, stage):
    return [cell for cell in plan.cells.values() if cell.key.source_stage == stage]


def compared(plan, cell, name):
    key = plan.cells[cell.baselines[name]].key
    return key.protocol, key.source, key.target


def test_pairs_are_trained_with_both_budgets_and_compared_with_the_target_alone(plan):
    made = plan(block("pairwise", SENTIMENT))
    cells = of(made, "pairwise")
    names = ("film", "shop", "town")
    assert {(c.key.source, c.key.target) for c in cells} == {
        (f"sentiment@{a}", f"sentiment@{b}") for a in names for b in names if a != b
    }
    assert len({c.training.id for c in cells}) == 3  # {A, B} is {B, A}
    for cell in cells:
        assert cell.training.budget.max_steps == 12
        assert set(cell.key.source_tasks) == {cell.key.source, cell.key.target}
        assert cell.key.row == ((cell.key.source,),)
        assert next(iter(cell.baselines)) == "alone"
        assert compared(made, cell, "alone") == ("full/zero_shot", cell.key.target, cell.key.target)
        assert made.cells[cell.baselines["alone"]].training.budget.max_steps == 6


def test_the_partner_of_a_pair_may_be_of_another_task(plan):
    (cell,) = of(plan(block("pairwise", {"task": "mlm"}, SHOP)), "pairwise")
    assert (cell.key.source, cell.key.source_tasks) == ("mlm@film", ("mlm@film", "sentiment@shop"))


def test_epochs_are_passes_over_each_task_in_every_design(plan):
    budget = {"max_steps": None, "epochs": 2.0}
    made = plan(block("pairwise", FILM, SHOP) | budget, block("leave_one_out", SENTIMENT, SHOP) | budget)
    assert {cell.training.budget.epochs for cell in made.cells.values() if cell.training} == {2.0}


def test_leaving_one_out_is_compared_with_the_full_set_and_keeps_the_steps_of_the_rest(plan):
    made = plan(block("leave_one_out", SENTIMENT))
    cells = of(made, "leave_one_out")
    assert len(cells) == 9
    assert {c.key.source for c in cells} == {f"all but sentiment@{d}" for d in ("film", "shop", "town")}
    for cell in cells:
        (left_out,) = cell.key.row[0]
        assert left_out not in cell.key.source_tasks
        assert len(cell.key.source_tasks) == 2
        assert cell.training.budget.max_steps == 4  # of 6 for three
        assert compared(made, cell, "full_set") == ("full/zero_shot", "all (3 tasks)", cell.key.target)
    full_set = made.cells[cells[0].baselines["full_set"]]
    assert full_set.training.budget.max_steps == 6
    assert len({c.training.id for c in cells}) == 3


def test_any_axis_can_be_left_out(plan):
    cells = of(plan(block("leave_one_out", SENTIMENT | {"by": "language"}, SHOP)), "leave_one_out")
    assert {(c.key.source, c.key.source_tasks) for c in cells} == {
        ("all but sentiment@film", ("sentiment@shop", "sentiment@town")),
        ("all but zh (2 tasks)", ("sentiment@film",)),
    }


def test_a_sequence_shares_each_stage_with_what_was_trained_before(plan):
    made = plan(block("sequential", FILM, then=[SHOP, SENTIMENT]), block("full", SENTIMENT))
    rows = {cell.key.source: cell for cell in of(made, "sequential") if cell.key.target == "sentiment@town"}
    first, second, third = (
        "sentiment@film",
        "sentiment@film → sentiment@shop",
        "sentiment@film → sentiment@shop → sentiment@town",
    )
    assert list(rows) == [first, second, third]
    alone = {c.key.source: c.training for c in of(made, "full")}
    assert rows[first].training.id == alone["sentiment@film"].id  # nothing is trained twice
    assert rows[second].training.start.id == rows[first].training.id
    assert rows[third].training.start.id == rows[second].training.id
    assert rows[third].training.source.stages[-1][0].identity == "sentiment@town"
    assert "before" not in rows[first].baselines
    assert compared(made, rows[third], "before")[:2] == ("sequential/zero_shot", second)
    assert compared(made, rows[third], "alone")[:2] == ("full/zero_shot", "sentiment@town")
    assert len(made.trainings) == 5  # three alone, one of two stages, one of three
    assert list(made.trainings).index(rows[second].training.id) > list(made.trainings).index(
        rows[first].training.id
    )


def test_sequences_in_both_orders(plan):
    made = plan(block("sequential", SENTIMENT, SHOP, then=[SENTIMENT]))
    sources = [cell.key.source for cell in of(made, "sequential")]
    assert len(sources) == len(set(sources)) == 3 + 6


def test_a_first_stage_whose_head_must_know_later_labels_is_another_training(plan):
    def rename(content):
        labels = {"column": "label", "map": {"positive": "positive", "negative": "bad"}}
        content["streams"][1]["tasks"][0]["fields"]["label"] = labels

    blocks = [block("sequential", FILM, then=[SHOP]), block("full", FILM)]
    made = plan(*blocks, change=rename)
    first = next(c for c in of(made, "sequential") if c.key.source == "sentiment@film")
    alone = next(c for c in of(made, "full") if c.key.source == "sentiment@film")
    assert first.training.id != alone.training.id
    assert [task.identity for task in first.training.known] == ["sentiment@film", "sentiment@shop"]


def test_a_design_that_asks_for_no_cell_is_refused(plan):
    for given in (
        block("leave_one_out", SHOP),
        block("pairwise", SHOP, SHOP),
        block("sequential", SHOP, then=[SHOP]),
    ):
        with pytest.raises(SpecError, match=r"transfer\[0\]: .* asks for no cell: it needs two sources"):
            plan(given)


def test_few_shot_cells_are_one_for_each_k_and_draw_and_paired_with_the_pretrained_encoder(plan):
    given = block("full", FILM, SHOP, "few_shot", few_shot={"k": [2, 4], "draws": 3}, seeds=[1, 2])
    made = plan(given)
    cells = of(made, "full")
    assert len(cells) == 2 * 3 * 2
    assert {cell.key.protocol for cell in cells} == {"full/few_shot-2", "full/few_shot-4"}
    for cell in cells:
        for name in ("pretrained", "tfidf"):
            other = made.cells[cell.baselines[name]].key
            assert (other.shots, other.draw, other.seed) == (cell.key.shots, cell.key.draw, cell.key.seed)
    assert len({cell.baselines["majority"] for cell in cells}) == 2  # one a seed, whatever is drawn
    more = plan(given | {"few_shot": {"k": [2, 4, 8], "draws": 4}})
    assert set(made.cells) < set(more.cells)


def labelled(labels, **more):
    """Shops whose labels have other names."""

    def change(content):
        content["streams"][1]["tasks"][0]["fields"]["label"] = {"column": "label", "map": labels}
        content["streams"][1]["tasks"][0] |= more

    return change


BAD = labelled({"positive": "good", "negative": "bad"})


def test_a_label_map_defines_what_names_alone_do_not(plan):
    given = block("full", FILM, SHOP)
    (cell,) = of(plan(given, change=BAD), "full")
    assert cell.undefined == "sentiment@film has no label for bad, good; label_map can name one"
    assert cell.training is None  # nothing is trained for what has no value
    mapped = given | {"label_map": {"positive": "good", "negative": "bad"}}
    (cell,) = of(plan(mapped, change=BAD), "full")
    assert not cell.undefined
    assert cell.training is not None
    assert set(cell.baselines) == {"head", "tfidf", "majority"}


def test_a_target_that_several_heads_could_answer_for_is_undefined_and_says_so(plan):
    def unshared(content):
        for stream in content["streams"]:
            stream["tasks"] = [
                task | {"head": {"name": "sequence_classifier"}} for task in stream["tasks"][:1]
            ]

    made = plan(block("leave_one_out", SENTIMENT), change=unshared)
    own = [cell for cell in of(made, "leave_one_out") if cell.key.row == ((cell.key.target,),)]
    assert len(own) == 3
    for cell in own:
        assert cell.undefined.endswith("has 2 heads for it; head.shared_as makes them one")
        assert cell.training is None


def test_a_label_map_lets_a_head_of_another_task_answer(plan):
    change = labelled(
        {"positive": "good", "negative": "bad"}, name="mood", head={"name": "sequence_classifier"}
    )
    given = block("full", FILM, {"task": "mood", "domain": "shop"})
    with pytest.raises(SpecError, match="no source has a head for any target"):
        plan(given, change=change)
    (cell,) = of(plan(given | {"label_map": {"positive": "good", "negative": "bad"}}, change=change), "full")
    assert (cell.key.source, cell.key.target, cell.undefined) == ("sentiment@film", "mood@shop", "")


def test_misspelt_labels_of_a_map_get_a_suggestion(plan):
    given = block("full", FILM, SHOP, label_map={"positiv": "god"})
    with pytest.raises(SpecError) as caught:
        plan(given, change=BAD)
    assert [str(problem).partition("transfer")[2] for problem in caught.value.problems] == [
        "[0].label_map.positiv: no source has this label; did you mean positive?",
        "[0].label_map.positiv: no target has the label 'god'; did you mean good?",
    ]


def test_another_label_map_is_another_cell(plan):
    both = {"positive": "good", "negative": "bad"}
    given = block("full", FILM, SHOP, label_map=both)
    turned = given | {"label_map": {"positive": "bad", "negative": "good"}}
    one, other = (of(plan(g, change=BAD), "full")[0] for g in (given, turned))
    assert one.id != other.id
    assert one.training.id == other.training.id


def test_a_baselines_row_does_not_rename_the_one_that_was_asked_for(plan):
    """Of two domains, all but one is the other: one and the same head."""
    two = [{"task": "sentiment", "domain": domain} for domain in ("film", "shop")]
    asked = block("head", SHOP, SHOP)
    design = block("leave_one_out", two, SHOP)
    for blocks in ([asked, design], [design, asked]):
        made = plan(*blocks)
        names = {c.key.source for c in of(made, "head") if c.key.source_tasks == ("sentiment@shop",)}
        assert names == {"sentiment@shop"}
