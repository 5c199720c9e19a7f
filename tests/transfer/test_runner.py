"""Measured cells: against predictions made another way, against each other, and when some fail."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import f1_score

from sslm_platform.predict import Predictor
from sslm_platform.report.matrix import State, build_matrix
from sslm_platform.report.records import CellRecord, TransferPlan, read_cells, read_record
from sslm_platform.runs import load_run
from sslm_platform.train.folder import RunFolder
from sslm_platform.transfer import heads
from sslm_platform.transfer import measure as measuring
from sslm_platform.transfer.cells import plan_cells
from sslm_platform.transfer.runner import TransferJob, Work, open_lab, run_transfer


def measure(corpus, folder):
    """Measure a corpus's cells; return records by (protocol, source, target), and what was said."""
    console = Console(file=io.StringIO(), width=200)
    run_transfer(corpus, plan_cells(corpus), RunFolder(folder), console)
    return by_key(folder), console.file.getvalue()


def by_key(folder):
    records = read_cells(folder / "transfer").values()
    return {(r.key.protocol, r.key.source, r.key.target): r for r in records}


@pytest.fixture
def corpus_of(specs, encoder_folder):
    def corpus_of(blocks, *streams, change=None, **sections):
        content = specs.content(*streams, encoder=encoder_folder, transfer=blocks, **sections)
        if change is not None:
            change(content)
        return specs.corpus(content)

    return corpus_of


def test_every_planned_cell_of_the_run_is_measured(finished):
    plan = read_record(TransferPlan, finished.path / "transfer" / "plan.json")
    records = read_cells(finished.path / "transfer")
    assert set(records) == {cell.id for cell in plan.cells}
    for record in records.values():
        assert record.status == "done", record.error
        assert record.num_test == plan.tasks[record.key.target].num_test
        score = record.scores[record.metric]
        assert score.low <= score.value <= score.high
        assert len(record.resamples) == 1000


def test_the_joint_source_is_the_runs_own_model(finished):
    plan = read_record(TransferPlan, finished.path / "transfer" / "plan.json")
    sources = {cell.key.source for cell in plan.cells if cell.key.source_stage == "full"}
    assert "joint" in sources
    trained = [path.name for path in (finished.path / "transfer" / "trainings").iterdir()]
    assert len(trained) == len(sources) - 1  # mlm@film serves both probe and finetune


def test_a_zero_shot_score_is_that_of_the_sources_predictions(finished):
    """The saved source model, asked text by text, gives what the cell recorded."""
    run = load_run(finished.path, cache=finished.cache)
    record = by_key(finished.path)["full/zero_shot", "sentiment@film", "sentiment@shop"]
    for model in (finished.path / "transfer" / "trainings").glob("*/model"):
        head = model / "heads" / "sentiment" / "head.json"
        if head.exists() and json.loads(head.read_text())["tasks"] == ["sentiment@film"]:
            break
    else:
        pytest.fail("the source's model was not kept")
    task = run.resolved.tasks["sentiment@shop"]
    test = run.corpus.task_feed(task, 3).splits["test"]
    answers = Predictor(run.resolved, model, "sentiment@shop")(test.values("sentiment@shop", "text"))
    gold = test.values("sentiment@shop", "label")
    expected = f1_score(gold, [answer["label"] for answer in answers], average="macro", zero_division=0)
    assert record.scores["macro_f1"].value == pytest.approx(expected)


def test_measuring_again_measures_nothing(finished):
    run = load_run(finished.path, cache=finished.cache)
    cells = finished.path / "transfer" / "cells"
    before = {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in cells.rglob("*.json")}
    said = measure(run.corpus, finished.path)[1]
    assert f"0 cells to measure, {len(before)} done before" in said
    assert {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in cells.rglob("*.json")} == before


SHOP = {"task": "sentiment", "domain": "shop"}
PROBES = {"source_stage": "none", "target_stage": "probe", "targets": {"task": "sentiment"}}


def test_finetuning_the_pretrained_encoder_is_training_on_the_target(corpus_of, tmp_path):
    """Same seed, data, order and steps: in-domain zero-shot and finetune are one training, planned twice."""
    blocks = [
        {"source_stage": "full", "target_stage": "zero_shot", "sources": SHOP, "max_steps": 4},
        {"source_stage": "none", "target_stage": "finetune", "finetune_max_steps": 4},
    ]
    records, _ = measure(corpus_of([block | {"targets": SHOP} for block in blocks], "shops"), tmp_path)
    trained = records["full/zero_shot", "sentiment@shop", "sentiment@shop"]
    tuned = records["none/finetune", "", "sentiment@shop"]
    assert trained.scores == tuned.scores
    assert trained.resamples == tuned.resamples
    assert tuned.num_tokens > 0


def relabelled(content):
    """Shops that say `bad` where films say `negative`."""
    labels = {"column": "label", "map": {"positive": "positive", "negative": "bad"}}
    content["streams"][1]["tasks"][0]["fields"]["label"] = labels


def test_unknown_labels_are_undefined_and_the_rest_is_measured(corpus_of, tmp_path):
    blocks = [
        {
            "source_stage": "head",
            "target_stage": "zero_shot",
            "sources": {"task": "sentiment"},
            "targets": {"task": "sentiment"},
        }
    ]
    records, said = measure(corpus_of(blocks, "films", "shops", change=relabelled), tmp_path)
    plan = read_record(TransferPlan, tmp_path / "transfer" / "plan.json")
    undefined = {(c.key.source, c.key.target): c.undefined for c in plan.cells if c.undefined}
    assert undefined == {
        ("sentiment@film", "sentiment@shop"): "sentiment@film has no label for bad; label_map can name one",
        (
            "sentiment@shop",
            "sentiment@film",
        ): "sentiment@shop has no label for negative; label_map can name one",
    }
    assert {record.status for record in records.values()} == {"done"}
    assert set(read_cells(tmp_path / "transfer")) == {c.id for c in plan.cells if not c.undefined}
    shown = build_matrix(plan, read_cells(tmp_path / "transfer"), protocol="head/zero_shot")
    place = shown.cells["sentiment@film", "sentiment@shop"]
    assert (place.state, place.error) == (State.UNDEFINED, undefined["sentiment@film", "sentiment@shop"])
    assert "failed" not in said


def test_a_probe_does_not_depend_on_what_was_measured_before_it(corpus_of, tmp_path):
    """A source of both domains numbers the labels otherwise than either domain alone."""
    both = {
        "source_stage": "head",
        "target_stage": "zero_shot",
        "sources": {"task": "sentiment", "by": "task"},
        "targets": {"task": "sentiment"},
    }
    alone, _ = measure(corpus_of([PROBES], "films", "shops", change=relabelled), tmp_path / "alone")
    after, _ = measure(corpus_of([both, PROBES], "films", "shops", change=relabelled), tmp_path / "after")
    for domain in ("film", "shop"):
        key = ("none/probe", "", f"sentiment@{domain}")
        assert after[key].id == alone[key].id
        assert after[key].scores == alone[key].scores
        assert after[key].resamples == alone[key].resamples
    joint = after["head/zero_shot", "sentiment (2 tasks)", "sentiment@film"]
    assert joint.status == "done", joint.error


@pytest.mark.parametrize("error", [ValueError("a plugin's own"), RuntimeError("out of memory")])
def test_a_cell_that_fails_is_recorded_and_tried_again(corpus_of, tmp_path, monkeypatch, error):
    corpus = corpus_of([PROBES], "films", "shops")
    fit = heads.fit_probe

    def fails_on_films(models, *given):
        if models[0].task.identity == "sentiment@film":
            raise error
        return fit(models, *given)

    monkeypatch.setattr(heads, "fit_probe", fails_on_films)
    records, said = measure(corpus, tmp_path)
    failed = records["none/probe", "", "sentiment@film"]
    assert (failed.status, failed.error) == ("failed", f"{type(error).__name__}: {error}")
    assert {r.status for key, r in records.items() if key[2] == "sentiment@shop"} == {"done"}
    assert str(error) in said
    monkeypatch.undo()
    records, said = measure(corpus, tmp_path)
    assert "1 cells to measure" in said
    assert {r.status for r in records.values()} == {"done"}


def test_what_a_worker_of_this_run_failed_at_is_not_tried_again_at_its_end(corpus_of, tmp_path, monkeypatch):
    corpus, tries = corpus_of([PROBES], "films"), []

    def fails(*given):
        tries.append(given)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(heads, "fit_probe", fails)
    lab = open_lab(corpus, RunFolder(tmp_path), Console(file=io.StringIO()))
    run, worker = (TransferJob(lab, plan_cells(corpus), Work()) for _ in range(2))
    worker.work()
    assert tries
    tried = len(tries)
    run.work()
    assert len(tries) == tried


def test_a_source_that_cannot_be_trained_fails_its_cells_only(corpus_of, tmp_path, monkeypatch):
    block = {
        "source_stage": "full",
        "target_stage": "probe",
        "sources": [{"task": "mlm"}, SHOP],
        "targets": SHOP,
        "max_steps": 2,
    }
    load = measuring.load_source

    def fails_on_masking(lab, plan):
        if plan.source.name == "mlm@film":
            raise RuntimeError("out of memory")
        return load(lab, plan)

    monkeypatch.setattr(measuring, "load_source", fails_on_masking)
    records, _ = measure(corpus_of([block], "films", "shops"), tmp_path)
    failed = [key for key, record in records.items() if record.status == "failed"]
    assert failed == [("full/probe", "mlm@film", "sentiment@shop")]


def test_a_shared_head_is_fitted_to_all_of_its_sources(corpus_of, tmp_path):
    block = {
        "source_stage": "head",
        "target_stage": "zero_shot",
        "sources": {"task": "sentiment", "by": "task"},
        "targets": {"task": "sentiment"},
    }
    records, _ = measure(corpus_of([block], "films", "shops"), tmp_path)
    record = records["head/zero_shot", "sentiment (2 tasks)", "sentiment@shop"]
    sizes = [
        len(corpus_of([], name).task_feed(task, 3).splits["train"])
        for name in ("films", "shops")
        for task in corpus_of([], name).run.tasks.values()
        if task.spec.name == "sentiment"
    ]
    assert record.num_train == sum(sizes)
    assert record.key.source_tasks == ("sentiment@film", "sentiment@shop")


def test_seeds_change_initialization_and_never_the_test_split(corpus_of, tmp_path):
    block = {"source_stage": "none", "target_stage": "finetune", "targets": SHOP, "finetune_max_steps": 25}
    measure(corpus_of([block | {"seeds": [1, 2]}], "shops"), tmp_path)
    records = [
        r
        for r in read_cells(tmp_path / "transfer").values()
        if r.key.protocol in ("none/finetune", "majority/finetune")
    ]
    tuned = [r for r in records if r.key.source_stage == "none"]
    constant = [r for r in records if r.key.source_stage == "majority"]
    assert len(tuned) == len(constant) == 2
    assert constant[0].resamples == constant[1].resamples
    assert not np.array_equal(tuned[0].resamples, tuned[1].resamples)


def test_records_survive_being_read_back(finished):
    for path in (finished.path / "transfer" / "cells").rglob("record.json"):
        record = read_record(CellRecord, path)
        assert record.id == path.parent.name
        assert record.environment["sslm-platform"]
