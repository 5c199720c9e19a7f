"""Every source stage with every target stage, trained and measured on a tiny encoder."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sslm_platform.report.records import TransferPlan, read_cells, read_record, read_trainings
from sslm_platform.train.folder import RunFolder
from sslm_platform.transfer.runner import run_transfer

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

    def __init__(self, folder):
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
        | {"max_steps": 4}
        | SOURCES[source]
        | TARGETS[target]
        for source, target in PAIRS
    ]
    content = specs.content("films", "shops", encoder=encoder_folder, transfer=blocks, tasks=SENTIMENT)
    console = Console(file=io.StringIO(), width=200)
    run_transfer(specs.corpus(content), RunFolder(folder / "run"), console)
    return Measured(folder / "run" / "transfer")


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_pair_of_stages_is_measured(lab, source, target):
    name = {"few_shot": "few_shot-4", "few_shot by finetune": "few_shot-4-finetune"}.get(target, target)
    cells = lab.cells(f"{source}/{name}")
    assert cells
    for cell in cells:
        record = lab.records[cell.id]
        assert record.status == "done", record.error
        assert all(lab.records[identity].status == "done" for identity in cell.baselines.values())
