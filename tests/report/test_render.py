from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sslm_platform.errors import RunError
from sslm_platform.report.records import TransferPlan, write_record
from sslm_platform.report.render import Report


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_records_give_the_same_bytes_in_another_process(
    folder: Path, sample: ModuleType, tmp_path: Path
):
    sample.write_sample(tmp_path)
    script = (
        "import sys, pathlib\nfrom sslm_platform.report.render import Report\n"
        "Report.read(pathlib.Path(sys.argv[1])).write(figures=True)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env={"PYTHONHASHSEED": "7"})
    ours, theirs = contents(folder / "report"), contents(tmp_path / "report")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert str(tmp_path).encode() not in theirs["index.html"]


def test_every_matrix_is_written_in_every_format(folder: Path):
    names = {path.name for path in (folder / "report" / "matrices").iterdir()}
    stems = {
        "full-zero_shot--sentiment": ("score", "gain-over-head", "gain-over-tfidf", "gain-over-majority"),
        "full-probe--sentiment": ("score", "gain-over-pretrained", "gain-over-tfidf", "gain-over-majority"),
        "full-probe--tagging": ("score", "gain-over-pretrained", "gain-over-majority"),
    }
    expected = {
        f"{stem}--{value}.{suffix}"
        for stem, values in stems.items()
        for value in values
        for suffix in ("csv", "md", "tex", "pdf", "png", "svg")
    }
    assert names == expected
    svg = (folder / "report" / "matrices" / "full-probe--sentiment--score.svg").read_text()
    assert "<dc:date>" not in svg
    markdown = (folder / "report" / "report.md").read_text(encoding="utf-8")
    assert "*failed*" in markdown
    assert "*no baseline*" in markdown


def test_matrices_of_an_earlier_plan_do_not_stay(sample: ModuleType, tmp_path: Path):
    plan = sample.make_plan(domains=("tweets", "movies"), tagging=("people",))
    probe = [c for c in plan.cells if c.key.protocol == "full/probe" and c.key.target.startswith("tagging")]
    ids = {c.id for c in probe} | {id_ for c in probe for id_ in c.baselines.values()}
    small = plan.model_copy(update={"cells": tuple(c for c in plan.cells if c.id in ids)})
    sample.write_sample(tmp_path, small, {})
    (tmp_path / "report" / "matrices").mkdir(parents=True)
    stale = tmp_path / "report" / "matrices" / "full-probe--gone--score.csv"
    stale.write_text("old")
    Report.read(tmp_path).write()
    assert not stale.exists()
    assert "missing" in (tmp_path / "report" / "matrices" / "full-probe--tagging--score.csv").read_text()


def test_a_run_that_has_only_started_still_has_a_report(sample: ModuleType, tmp_path: Path):
    sample.write_sample(tmp_path, TransferPlan(cells=(), tasks=sample.make_tasks()), {})
    for name in ("scores.json", "spec.yaml", "train/metrics.jsonl", "transfer/plan.json"):
        (tmp_path / name).unlink()
    page = Report.read(tmp_path).write().read_text(encoding="utf-8")
    for words in ("no transfer section", "has not been scored", "No training step", "tokens_per_batch: 2048"):
        assert words in page
    assert "plotly.js" not in page


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", "{", "not a valid RunRecord"),
        ("run.json", json.dumps({"version": 99}), "version 99"),
        ("scores.json", "[]", "not a valid"),
    ],
)
def test_damaged_records_are_errors_that_name_the_file(
    sample: ModuleType, tmp_path: Path, name: str, text: str, message: str
):
    sample.write_sample(tmp_path, TransferPlan(cells=(), tasks=sample.make_tasks()), {})
    (tmp_path / name).write_text(text)
    with pytest.raises(RunError, match=message) as caught:
        Report.read(tmp_path).write()
    assert name in str(caught.value)


def test_a_done_cell_without_its_metric_is_an_error(sample: ModuleType, tmp_path: Path):
    plan = sample.make_plan(domains=("tweets",), tagging=())
    cell = sample.make_record(plan.cells[0].key).model_copy(update={"scores": {}})
    sample.write_sample(tmp_path, plan, {cell.id: cell})
    with pytest.raises(RunError, match="without its metric 'macro_f1'"):
        Report.read(tmp_path).write()


def test_names_from_data_cannot_break_out_of_the_page(sample: ModuleType, tmp_path: Path):
    plan = sample.make_plan(domains=("tweets",), tagging=())
    bad = plan.cells[0]
    record = sample.failed(sample.make_record(bad.key)).model_copy(
        update={"error": '"><script>alert(1)</script>'}
    )
    sample.write_sample(tmp_path, plan, {bad.id: record})
    (tmp_path / "spec.yaml").write_text("name: </pre><script>alert(2)</script>\n")
    line = {"kind": "step", "step": 1, "losses": {"</script><script>alert(3)</script>": 1.0}}
    line |= {"learning_rate": 1, "seconds": 1, "num_tokens": 1, "num_padded_tokens": 1}
    (tmp_path / "train" / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    page = Report.read(tmp_path).write().read_text(encoding="utf-8")
    assert "<script>alert" not in page


def test_importing_the_report_is_cheap():
    heavy = {"torch", "transformers", "datasets", "matplotlib", "plotly", "scipy", "jinja2"}
    script = "import sys, sslm_platform.report.render; sys.stdout.write(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert heavy & set(loaded.split()) == set()


def test_records_survive_their_file(sample: ModuleType, tmp_path: Path, folder: Path):
    record = sample.make_record(sample.make_plan().cells[0].key)
    write_record(record, tmp_path / "record.json")
    assert type(record).model_validate_json((tmp_path / "record.json").read_text()) == record
