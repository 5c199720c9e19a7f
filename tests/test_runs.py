"""A whole run: its folder, its records, and the same from Python."""

from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console
from transformers import AutoModel, AutoTokenizer

import sslm_platform
from sslm_platform.errors import RunError, SpecError
from sslm_platform.report.records import RunRecord, read_record
from sslm_platform.runs import load_run, open_run, read_scores, run
from sslm_platform.spec.load import load_run_spec


def test_the_run_learned_what_its_texts_hold(finished):
    scores = {score.task: score for score in read_scores(finished.path)}
    assert set(scores) == {
        "sentiment@film",
        "sentiment@shop",
        "rating@film",
        "mlm@film",
        "names@news",
        "fits@quiz",
    }
    for task in ("sentiment@film", "sentiment@shop", "names@news"):
        score = scores[task]
        assert score.scores[score.metric].low > score.majority[score.metric].high, task


def test_facts_of_the_run(finished):
    record = read_record(RunRecord, finished.path / "run.json")
    assert (record.name, record.status, record.seed) == ("tiny", "done", 3)
    assert record.seconds > 0
    assert {"python", "torch", "transformers", "sslm-platform", "sslm-heads"} <= set(record.versions)
    assert set(record.fingerprints) == {"films", "shops", "names", "pairs"}
    info = record.tasks["sentiment@film"]
    assert info.num_train + info.num_dev + info.num_test == info.num_available == 160


def test_the_folders_spec_is_the_one_that_ran(finished):
    assert load_run_spec(finished.path / "spec.yaml").spec == load_run_spec(finished.spec).spec


def test_transformers_loads_the_kept_encoder_without_the_platform(finished):
    folder = finished.path / "train" / "model" / "encoder"
    tokenizer, backbone = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    inputs = tokenizer(["the film was great", "这家的菜好吃"], padding=True, return_tensors="pt")
    run = load_run(finished.path)
    run.predict(["a"], "sentiment@film")
    ours = run._predictors["sentiment@film"].encoder.eval()
    with torch.no_grad():
        theirs_BLD = backbone.eval()(**inputs).last_hidden_state
        ours_BLD, _ = ours(inputs["input_ids"], inputs["attention_mask"].bool())
    mask_BL1 = inputs["attention_mask"].unsqueeze(-1)
    torch.testing.assert_close(ours_BLD * mask_BL1, theirs_BLD * mask_BL1, rtol=1e-5, atol=1e-6)
    assert tokenizer.unk_token_id not in inputs["input_ids"]


def test_the_report_is_there_and_printed(finished):
    page = finished.path / "report" / "index.html"
    assert page.stat().st_size > 10_000
    assert str(page) in finished.printed.replace("\n", "")
    assert "sentiment@film" in finished.printed


def test_scoring_the_saved_model_again_gives_the_same_scores(finished):
    run = load_run(finished.path, cache=finished.cache)
    assert run.evaluate("test") == read_scores(finished.path)
    dev = run.evaluate("dev")
    assert {score.num_test for score in dev} == {
        run.corpus.task_info(t, 3).num_dev for t in run.resolved.tasks.values()
    }


def test_from_python_a_finished_run_is_opened_not_repeated(finished):
    console = Console(file=io.StringIO(), width=200)
    done = finished.path / "train" / "done.json"
    before = done.stat().st_mtime_ns
    again = sslm_platform.run(finished.spec, out=finished.path, cache=finished.cache, console=console)
    said = console.file.getvalue()
    assert "joint training: done before" in said
    assert "transfer: 0 cells to measure" in said
    assert done.stat().st_mtime_ns == before
    assert again.predict(["the film was lovely"], "sentiment@film")[0]["label"] == "positive"


def test_subsampling_is_noted(specs, tmp_path):
    path = specs.write(specs.content("films", limit={"train": 40, "test": 10}, schedule={"max_steps": 1}))
    console = Console(file=io.StringIO())
    sslm_platform.run(path, out=tmp_path / "run", cache=specs.texts / "cache", console=console)
    record = read_record(RunRecord, tmp_path / "run" / "run.json")
    assert "Subsampled to at most (train 40, test 10) examples of each task: films." in record.notes
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["scores"][0]["num_test"] == 10


def test_what_is_no_run(tmp_path):
    with pytest.raises(RunError, match=r"is not a run's folder: it has no spec.yaml"):
        load_run(tmp_path)


def test_several_processes_need_an_engine_that_has_them(specs, tmp_path):
    path = specs.write(specs.content("films"))
    with pytest.raises(SpecError, match=r"engine.name: local is one process; several need engine"):
        sslm_platform.run(path, out=tmp_path / "run", cache=specs.texts / "cache", num_processes=2)


def test_a_record_says_how_the_work_ended(specs, tmp_path, monkeypatch):
    from sslm_platform.train import joint

    path = specs.write(specs.content("names", schedule={"max_steps": 1}))
    run = open_run(path, out=tmp_path / "run", cache=specs.texts / "cache", console=Console(quiet=True))

    def status():
        return read_record(RunRecord, tmp_path / "run" / "run.json").status

    def stop(error):
        def stop(*_):
            raise error

        monkeypatch.setattr(joint, "build_model", stop)

    stop(RunError("disk full"))
    with pytest.raises(RunError):
        run.train()
    assert status() == "failed"
    stop(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert status() == "running"
    monkeypatch.undo()
    run.train()
    assert status() == "done"
    run.transfer()
    assert status() == "done"


def test_cells_that_cannot_be_planned_are_said_before_the_training(specs, tmp_path):
    block = {"source_stage": "none", "target_stage": "probe", "targets": {"task": "mlm"}}
    spec = specs.write(specs.content("films", transfer=[block]), "planned.yaml")
    with pytest.raises(SpecError, match="tied to the embedding has no probe"):
        run(spec, out=tmp_path / "run", cache=specs.texts / "cache")
    assert not (tmp_path / "run" / "train").exists()


def test_what_is_wrong_with_an_encoder_is_said_with_the_spec(specs):
    spec = specs.write(specs.content("films", encoder={"path": str(specs.folder / "none"), "max_length": 32}))
    with pytest.raises(SpecError, match=r"spec.yaml: encoder.path: .*none: no such folder"):
        open_run(spec).corpus  # noqa: B018
    with pytest.raises(SpecError, match=r"^--set encoder.path: .*other: no such folder"):
        open_run(spec, overrides=[f"encoder.path={specs.folder / 'other'}"]).corpus  # noqa: B018
