"""Rates: what records say about a machine, and that a calibration measures all of them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sslm_platform.report.estimates import Rates
from sslm_platform.report.records import CellKey, CellRecord, TrainingRecord
from sslm_platform.runs import open_run
from sslm_platform.train.folder import RunFolder
from sslm_platform.transfer.cells import plan_cells
from sslm_platform.transfer.rates import calibrate, known_rates, rates_of, remember
from sslm_platform.transfer.runner import open_lab
from sslm_platform.transfer.units import units_of

BLOCK = {"source_stage": "full", "target_stage": "probe", "sources": {"task": ["mlm", "sentiment"]},
         "targets": {"task": "sentiment"}, "max_steps": 2}  # fmt: skip
BEFORE = Rates(
    origin="calibration",
    train_tokens_per_second={"mlm": 1.0, "mse": 9.0},
    encode_tokens_per_second=1.0,
    seconds_per_fit=7.0,
    seconds_per_cell=7.0,
    seconds_per_unit=3.0,
    model_bytes=5,
)


def cell(number, tokens, seconds, *, fits, stage="probe", status="done"):
    key = CellKey(source_stage="none", target_stage=stage, source="", target="t@d", seed=number)
    notes = {"inverse_l2": 1.0} if fits else {}
    return CellRecord(
        id=str(number), key=key, status=status, metric="m", seconds=seconds, num_tokens=tokens, notes=notes
    )


def training(task, tokens, seconds):
    return TrainingRecord(
        id=task, source=task, tasks=(task,), seed=1, num_steps=1, num_tokens=tokens,
        num_padded_tokens=tokens, seconds=seconds,
    )  # fmt: skip


def test_records_give_back_the_rates_that_made_them(corpus):
    """5,000 tokens/s to encode, 0.4 s a probe, 0.05 s a cell; a fine-tuned and a failed cell say nothing."""
    cells = [
        cell(n, tokens, tokens / 5000 + 0.4 * fits + 0.05, fits=fits)
        for n, (tokens, fits) in enumerate(
            [(20_000, True), (0, True), (9_000, False), (0, False), (400, True)]
        )
    ]
    cells += [
        cell(8, 10_000, 900.0, fits=False, stage="finetune"),
        cell(9, 0, 5.0, fits=False, status="failed"),
    ]
    trainings = [
        training("mlm@film", 3000, 2.0),
        training("mlm@film", 1000, 2.0),
        training("names@news", 50, 5),
    ]
    found = rates_of(BEFORE, corpus.run.tasks, cells, trainings)
    assert found.encode_tokens_per_second == pytest.approx(5000)
    assert found.seconds_per_fit == pytest.approx(0.4)
    assert found.seconds_per_cell == pytest.approx(0.05)
    assert found.train_tokens_per_second == {"mlm": 1000.0, "mse": 9.0, "cross_entropy": 10.0}
    assert (found.origin, found.seconds_per_unit, found.model_bytes) == ("earlier runs", 3.0, 5)


def test_a_training_of_a_task_that_is_no_more_says_nothing(corpus):
    assert rates_of(BEFORE, corpus.run.tasks, [], [training("gone@film", 50, 5)]) == BEFORE.model_copy(
        update={"origin": "earlier runs"}
    )


def test_without_records_rates_stay(corpus):
    assert rates_of(BEFORE, corpus.run.tasks, [], []).encode_tokens_per_second == 1.0


def test_a_probe_that_no_record_has_keeps_its_rate(corpus):
    cells = [cell(n, 9000 * n, 1.8 * n + 0.1, fits=False) for n in range(3)]
    found = rates_of(BEFORE, corpus.run.tasks, cells, [])
    assert found.seconds_per_fit == 7.0
    assert found.encode_tokens_per_second == pytest.approx(5000)


@pytest.fixture
def lab(specs, encoder_folder, tmp_path):
    from sslm_platform.corpus import Corpus

    content = specs.content("films", "shops", encoder=encoder_folder, transfer=[BLOCK])
    corpus = Corpus(specs.resolve(content), tmp_path / "cache")
    return open_lab(corpus, RunFolder(tmp_path / "run"), Console(file=io.StringIO()))


def test_a_calibration_measures_every_kind_and_writes_nothing(lab):
    units = units_of(plan_cells(lab.corpus))
    rates = calibrate(lab, units)
    assert set(rates.train_tokens_per_second) == {"mlm", "cross_entropy"}
    for rate in (*rates.train_tokens_per_second.values(), rates.encode_tokens_per_second):
        assert 10 < rate < 1e8
    assert 0 < rates.seconds_per_fit < 60
    assert 0 < rates.seconds_per_cell < 60
    parameters = 4 * (300 + 32 + 2) * 32  # embeddings, the least there is
    assert rates.model_bytes > parameters
    assert not lab.folder.root.exists()


def test_what_is_fine_tuned_is_timed_also_where_probes_came_before(specs, encoder_folder, tmp_path):
    blocks = [{"source_stage": "none", "target_stage": stage, "targets": {"task": "sentiment"}}
              for stage in ("probe", "finetune")]  # fmt: skip
    blocks[1]["finetune_max_steps"] = 2
    for given, kinds in ((blocks[:1], set()), (blocks, {"cross_entropy"})):
        spec = specs.write(specs.content("films", "shops", encoder=encoder_folder, transfer=given))
        run = open_run(
            spec, out=tmp_path / "run", cache=tmp_path / "cache", console=Console(file=io.StringIO())
        )
        found = run.estimate_transfer()
        assert set(found.rates.train_tokens_per_second) == kinds
    assert found.train_tokens > 0
    assert found.seconds > found.train_tokens / found.rates.train_tokens_per_second["cross_entropy"]


def test_rates_are_kept_for_the_encoder_and_the_machine(lab, specs, monkeypatch):
    corpus = lab.corpus
    assert known_rates(corpus) is None
    remember(corpus, BEFORE)
    assert known_rates(corpus) == BEFORE
    monkeypatch.setattr("sslm_platform.transfer.rates.machine", lambda engine: {"processor": "another"})
    assert known_rates(corpus) is None
    monkeypatch.undo()
    (file,) = (corpus.cache / "rates").iterdir()
    file.write_text("{}")
    assert known_rates(corpus) is None


def test_a_plan_is_made_before_anything_runs_and_told_afterwards(specs, encoder_folder, tmp_path):
    spec = specs.write(specs.content("films", "shops", encoder=encoder_folder, transfer=[BLOCK]))
    console = Console(file=io.StringIO(), width=200)
    run = open_run(spec, out=tmp_path / "run", cache=tmp_path / "cache", console=console)
    planned = run.estimate_transfer()
    assert planned.rates.origin == "calibration"
    assert not run.path.exists()
    run.transfer()
    assert f"{planned.encode_tokens:,} tokens to encode" in console.file.getvalue()
    assert "expected beforehand" in run.report().read_text(encoding="utf-8")
    later = open_run(spec, out=tmp_path / "next", cache=tmp_path / "cache", console=console)
    assert later.estimate_transfer().rates.origin == "earlier runs"
