"""Every source stage with every target stage, trained and measured on a tiny encoder."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from sslm_platform.report.console import print_run
from sslm_platform.report.page import render_page
from sslm_platform.report.records import TransferPlan, read_cells, read_record, read_trainings
from sslm_platform.report.run import read_run
from sslm_platform.report.views import families
from sslm_platform.runs import open_run

SENTIMENT = {"task": "sentiment"}
SHOP, FILM = SENTIMENT | {"domain": "shop"}, SENTIMENT | {"domain": "film"}
SOURCES = {
    "none": {},
    "head": {"sources": FILM},
    "full": {"sources": [FILM, "joint"]},
    "pairwise": {"sources": FILM},
    "leave_one_out": {"sources": SENTIMENT},
    "sequential": {"sources": FILM, "then": [SENTIMENT]},
}
TARGETS = {
    "zero_shot": {},
    "probe": {},
    "finetune": {"finetune_max_steps": 2},
    "few_shot": {"few_shot": {"k": 4, "draws": 2}},
    "few_shot by finetune": {"few_shot": {"k": 4, "draws": 2, "by": "finetune"}, "finetune_max_steps": 2},
}
PAIRS = [
    (source, target)
    for source in SOURCES
    for target in TARGETS
    if (source, target) != ("none", "zero_shot") and (source != "head" or target == "zero_shot")
]


class Measured:
    """The records of a plan, looked up by what they are of."""

    def __init__(self, path):
        self.path, folder = path, path / "transfer"
        self.plan = read_record(TransferPlan, folder / "plan.json")
        self.records = read_cells(folder)
        self.trainings = read_trainings(folder)

    def cells(self, protocol):
        return [cell for cell in self.plan.cells if cell.key.protocol == protocol]

    def cell(self, protocol, source, target, draw=0):
        key = (protocol, source, target, draw)
        (cell,) = [
            c for c in self.plan.cells if (c.key.protocol, c.key.source, c.key.target, c.key.draw) == key
        ]
        return cell

    def record(self, *key):
        return self.records[self.cell(*key).id]

    def training(self, *key):
        return self.trainings[self.cell(*key).training]


@pytest.fixture(scope="module")
def lab(make_specs, encoder_folder, tmp_path_factory):
    """All pairs of stages at once, so that what they share is trained once."""
    folder = tmp_path_factory.mktemp("protocols")
    specs = make_specs(folder)
    blocks = [
        {"source_stage": source, "target_stage": target.split()[0], "targets": SHOP}
        | ({} if source == "none" else {"max_steps": 4})
        | SOURCES[source]
        | TARGETS[target]
        for source, target in PAIRS
    ]
    content = specs.content("films", "shops", encoder=encoder_folder, transfer=blocks, tasks=SENTIMENT)
    console = Console(file=io.StringIO(), width=200)
    run = open_run(specs.write(content), out=folder / "run", cache=specs.texts / "cache", console=console)
    run.transfer()
    return Measured(run.path)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_pair_of_stages_is_measured(lab, source, target):
    name = {"few_shot": "few_shot-4", "few_shot by finetune": "few_shot-4-finetune"}.get(target, target)
    cells = lab.cells(f"{source}/{name}")
    assert cells
    for cell in cells:
        record = lab.records[cell.id]
        assert record.status == "done", record.error
        assert all(lab.records[identity].status == "done" for identity in cell.baselines.values())


def test_nothing_is_trained_twice_and_every_training_has_a_record(lab):
    """Film, shop, both as a pair and as the full set, each without the other, and film then shop."""
    assert set(lab.trainings) == set(lab.plan.trainings)
    found = {(r.source, r.num_steps, r.start != "") for r in lab.trainings.values()}
    assert found == {
        ("sentiment@film", 4, False),
        ("sentiment@shop", 4, False),
        ("all but sentiment@film", 2, False),
        ("all but sentiment@shop", 2, False),
        ("all (2 tasks)", 4, False),
        ("sentiment@film + sentiment@shop", 8, False),
        ("sentiment@film → sentiment@shop", 4, True),
    }
    used = {cell.training for cell in lab.plan.cells if cell.training}
    assert used - set(lab.trainings) == {lab.cell("full/probe", "joint", "sentiment@shop").training}


def test_a_trainings_record_says_what_each_task_got(lab):
    pair = lab.training("pairwise/probe", "sentiment@film", "sentiment@shop")
    assert set(pair.slots) == {"films", "shops"}
    assert sum(pair.slots.values()) == pair.num_steps == 8
    assert pair.intended.keys() == pair.slots.keys()
    assert sum(pair.intended.values()) == pytest.approx(1.0)
    assert 0 < pair.num_tokens <= pair.num_padded_tokens
    assert pair.seconds > 0
    last = lab.training("sequential/probe", "sentiment@film → sentiment@shop", "sentiment@shop")
    assert (last.tasks, set(last.slots)) == (("sentiment@shop",), {"shops"})
    assert lab.trainings[last.start].source == "sentiment@film"


def test_the_first_stage_of_a_sequence_is_the_source_alone(lab):
    first = lab.record("sequential/zero_shot", "sentiment@film", "sentiment@shop")
    alone = lab.record("full/zero_shot", "sentiment@film", "sentiment@shop")
    then = lab.record("sequential/zero_shot", "sentiment@film → sentiment@shop", "sentiment@shop")
    assert first.scores == alone.scores
    assert first.resamples != then.resamples


def test_a_few_shot_cell_learns_from_its_draw_alone(lab):
    first, second = (lab.record("full/few_shot-4", "sentiment@film", "sentiment@shop", n) for n in (0, 1))
    assert first.num_train == second.num_train == 8
    assert first.resamples != second.resamples
    tfidf = lab.record("tfidf/few_shot-4", "sentiment@shop", "sentiment@shop", 1)
    assert (tfidf.num_train, tfidf.notes["inverse_l2"]) == (8, 1.0)
    tuned = lab.record("none/few_shot-4-finetune", "", "sentiment@shop", 1)
    assert tuned.num_train == 8


def test_the_report_shows_every_protocol(lab):
    """On the page and on the terminal, with the figures of sequences and the trainings' cost."""
    records = read_run(lab.path)
    shown, console = families(records.plan, records.cells), Console(file=io.StringIO(), width=160)
    page = render_page(records, shown)
    print_run(records, shown, console)
    out = console.file.getvalue()
    for cell in lab.plan.cells:
        if not cell.is_baseline:
            assert f"{cell.key.protocol}, " in out
            assert cell.key.protocol in page
    assert f"{len(lab.trainings)} of {len(lab.trainings)}" in page
    assert "Sequences, sequential/zero_shot, macro f1" in out
    assert "missing" in out  # film is no target: what the sequence does to it was not asked


def test_few_shot_rows_are_averages_over_draws(lab, cli):
    _, out, _ = cli("report", lab.path, "--protocol", "full/few_shot-4", "--rows", "domain", "--json")
    cells = {cell["row"]: cell for cell in json.loads(out)["cells"]}
    drawn = [
        lab.record("full/few_shot-4", "sentiment@film", "sentiment@shop", n).scores["macro_f1"].value
        for n in (0, 1)
    ]
    assert drawn[0] != drawn[1]
    assert cells["film"]["value"] == pytest.approx(sum(drawn) / 2)
