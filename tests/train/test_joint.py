"""A joint training that is killed, changed, damaged or stopped early."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from sslm_platform.hookspecs import hookimpl
from sslm_platform.plugins import host
from sslm_platform.train import joint
from sslm_platform.train.joint import joint_id


@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_killed_at_any_step_it_ends_with_the_same_bits(whole, tmp_path, trainings, step):
    corpus, expected = whole
    trainings.kill(corpus, tmp_path, step)
    said = trainings.train(corpus, tmp_path)
    assert ("continuing after step 3 of 9" in said) == (3 < step <= 6)
    trainings.assert_same(tmp_path, expected)


@pytest.mark.parametrize(
    "sampler",
    [
        {"name": "doremi", "options": {"reference_losses": {"*": 0.3}}},
        {"name": "dev_gap"},
        {"name": "exp3s", "options": {"rate": 0.5}},
    ],
    ids=lambda sampler: sampler["name"],
)
def test_a_sampler_that_learns_goes_on_with_what_it_knew(specs, tmp_path, trainings, sampler):
    sections = trainings.sections | {"schedule": {**trainings.sections["schedule"], "sampler": sampler}}
    corpus = specs.corpus(specs.content("films", "names", **sections))
    expected, killed = tmp_path / "expected", tmp_path / "killed"
    said = trainings.train(corpus, expected)
    trainings.kill(corpus, killed, 8)
    assert "continuing after step 6 of 9" in trainings.train(corpus, killed)
    trainings.assert_same(killed, expected)
    steps = trainings.lines(expected, "step")
    assert steps[0]["probabilities"] != steps[-1]["probabilities"]
    shares = trainings.done(expected)["shares"]
    for feed, share in shares.items():
        assert share["realised"] == pytest.approx(sum(s["slots"].get(feed, 0) for s in steps) / 18)
        assert share["intended"] == pytest.approx(sum(s["probabilities"][feed] for s in steps) / 9)
    assert f"{next(iter(shares))} " in said
    assert "slots drawn (intended)" in said


def test_metrics_hold_every_step_and_scoring_once(whole, trainings):
    _, folder = whole
    assert [line["step"] for line in trainings.lines(folder, "step")] == list(range(1, 10))
    scorings = trainings.lines(folder, "evaluation")
    assert [line["step"] for line in scorings] == [2, 4, 6, 8, 9]
    tasks = {"sentiment@film", "rating@film", "mlm@film", "names@news"}
    for line in scorings:
        assert set(line["scores"]) == set(line["majority"]) == tasks


def test_a_finished_training_is_not_repeated(whole, trainings):
    corpus, folder = whole
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}
    assert "done before" in trainings.train(corpus, folder)
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()} == before


@pytest.mark.parametrize(
    ("override", "is_same"),
    [
        ("optimizer.lr=1.0e-3", False),
        ("streams.films.tasks.mlm.objective.options.mask_prob=0.3", False),
        ("streams.names.tasks.names.metrics=[entity_f1, accuracy]", False),
        ("limit.train=50", False),
        ("encoder.dropout=0.0", False),
        ("evaluation.every=3", False),
        ("checkpoint.every=5", True),
        ("optimizer.max_skipped=9", True),
        ("engine.threads=2", True),
        ("name=other", True),
        ("transfer=[{source_stage: none, target_stage: probe, targets: {task: names}}]", True),
    ],
)
def test_a_training_is_named_by_what_its_result_depends_on(whole, specs, trainings, override, is_same):
    changed = specs.corpus(specs.content("films", "names", **trainings.sections), override)
    assert (joint_id(changed, 3) == joint_id(whole[0], 3)) == is_same
    assert joint_id(changed, 4) != joint_id(changed, 3)


def test_it_stops_when_no_scoring_gets_better(specs, tmp_path, trainings, monkeypatch):
    values = iter([0.1, 0.5, 0.4, 0.3])
    monkeypatch.setattr(joint, "selection_value", lambda *_: next(values))
    sections = {
        "schedule": {"tokens_per_batch": 200, "max_steps": 30},
        "evaluation": {"every": 2, "patience": 2},
        "optimizer": {"lr": 5e-3, "warmup": 0.0, "decay": "constant"},
    }
    corpus = specs.corpus(specs.content("names", **sections))
    trainings.train(corpus, tmp_path / "stopped")
    assert [line["step"] for line in trainings.lines(tmp_path / "stopped", "evaluation")] == [2, 4, 6, 8]
    assert max(line["step"] for line in trainings.lines(tmp_path / "stopped", "step")) == 8
    assert trainings.done(tmp_path / "stopped")["best_step"] == 4
    monkeypatch.undo()
    trainings.train(
        specs.corpus(specs.content("names", **sections), "schedule.max_steps=4", "evaluation={}"),
        tmp_path / "four",
    )
    kept, at_four = (
        load_file(tmp_path / name / "train" / "model" / "encoder" / "model.safetensors")
        for name in ("stopped", "four")
    )
    assert all(torch.equal(kept[name], value) for name, value in at_four.items())


def test_stopped_early_and_killed_before_its_end_was_noted_it_does_no_step_more(
    specs, tmp_path, trainings, monkeypatch
):
    values = iter([0.5, 0.4])
    monkeypatch.setattr(joint, "selection_value", lambda *_: next(values))
    sections = {"evaluation": {"every": 2, "patience": 1}, "checkpoint": {"every": 100}}
    corpus = specs.corpus(specs.content("names", **sections))

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(joint, "joint_scores", fail)
        with pytest.raises(KeyboardInterrupt):
            trainings.train(corpus, tmp_path)
    assert "continuing after step 4" in trainings.train(corpus, tmp_path)
    assert [line["step"] for line in trainings.lines(tmp_path, "step")] == [1, 2, 3, 4]


def test_an_observer_that_raises_is_warned_of_once_and_the_run_goes_on(
    specs, tmp_path, trainings, caplog, monkeypatch
):
    from dataclasses import replace

    heard = []

    class Stranger:
        @hookimpl
        def sslm_step_ended(self, record):
            heard.append(record.step)
            raise KeyError("tracker")

    plugins = host()
    provenance = replace(plugins.loaded[0], plugin="tracker")
    plugins.manager.register(Stranger(), "tracker")
    monkeypatch.setattr(plugins, "loaded", [*plugins.loaded, provenance])
    try:
        with caplog.at_level("WARNING", logger="sslm_platform"):
            trainings.train(specs.corpus(specs.content("names")), tmp_path)
    finally:
        plugins.manager.unregister(name="tracker")
    assert heard == [1]
    (warning,) = [r.getMessage() for r in caplog.records if "tracker" in r.getMessage()]
    assert "plugin 'tracker': sslm_step_ended raised KeyError" in warning
    assert [line["step"] for line in trainings.lines(tmp_path, "step")] == list(range(1, 7))


def test_a_folder_that_is_no_run_is_left_alone(specs, tmp_path, cli):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("...")
    status, _, said = cli("train", specs.write(specs.content("names")), "--out", tmp_path / "thesis")
    assert status == 2
    assert "is a folder, but not of a run; give another --out" in said
    assert [f.name for f in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]
