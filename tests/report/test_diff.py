from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console

from sslm_platform.report.diff import ABSENT, diff_runs
from sslm_platform.report.diff_views import diff_json, diff_page, print_diff
from sslm_platform.report.matrix import State
from sslm_platform.report.records import RunRecord, read_record, write_record
from sslm_platform.report.run import Run, read_run

MOVED = 0.05


@pytest.fixture(scope="module")
def second(sample: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with movies as a source better by 5 points, one failed cell, and other keys in the spec."""
    plan = sample.make_plan()
    records = sample.make_records(plan)
    for id_, record in records.items():
        if record.key.source == "sentiment@movies" and record.key.protocol == "full/zero_shot":
            value = record.scores[record.metric]
            moved = value.model_copy(update={"value": value.value + MOVED})
            resamples = tuple(resample + MOVED for resample in record.resamples)
            records[id_] = record.model_copy(
                update={"scores": {record.metric: moved}, "resamples": resamples}
            )
    folder = sample.write_sample(tmp_path_factory.mktemp("second"), plan, records)
    record = read_record(RunRecord, folder / "run.json")
    spec = record.spec | {
        "seed": record.spec["seed"],
        "schedule": {"max_steps": 120},
        "streams": [{"name": "x"}],
    }
    write_record(record.model_copy(update={"name": "second", "spec": spec}), folder / "run.json")
    return folder


def test_specs_differ_by_key(run: Run, second: Path):
    changes = {change.key: (change.first, change.second) for change in diff_runs(run, read_run(second)).spec}
    assert changes == {
        "schedule.max_steps": (90, 120),
        "schedule.tokens_per_batch": (2048, ABSENT),
        "streams[x].name": (ABSENT, "x"),
    }


def test_a_moved_source_is_found_and_nothing_else(run: Run, second: Path):
    diff = diff_runs(run, read_run(second))
    _, matrix = next((task, m) for task, m in diff.matrices if m.protocol == "full/zero_shot")
    for (row, col), cell in matrix.cells.items():
        if (row, col) == ("sentiment@news", "sentiment@tweets"):
            assert cell.state is State.MISSING
            continue
        assert cell.estimate is not None
        moved = row == "sentiment@movies"
        assert cell.estimate.value == pytest.approx(MOVED if moved else 0.0)
        assert (
            cell.discovery == moved
        )  # every resample is better by as much: paired, there is no error at all
    assert all(
        m.protocol == "full/zero_shot" or not any(c.discovery for c in m.all_cells) for _, m in diff.matrices
    )


def test_other_test_examples_are_not_paired(run: Run, second: Path, tmp_path: Path):
    """Errors of both sides add up: the interval of a difference is that of two independent scores."""
    other = read_run(second)
    foreign = dict.fromkeys(other.record.fingerprints, "0" * 64)
    unpaired = Run(
        record=other.record.model_copy(update={"fingerprints": foreign}),
        spec_yaml="",
        plan=other.plan,
        cells=other.cells,
        trainings={},
        estimate=None,
        scores=other.scores,
        curves=other.curves,
    )
    _, matrix = diff_runs(run, unpaired).matrices[0]
    place = ("sentiment@movies", "sentiment@products")
    cell = matrix.cells[place]
    (planned,) = [
        c
        for c in run.plan.cells
        if (c.key.protocol, c.key.source, c.key.target) == ("full/zero_shot", *place)
    ]
    of_one = np.std(run.cells[planned.id].resamples, ddof=1)
    assert cell.inference is not None
    assert cell.inference.standard_error == pytest.approx(np.sqrt(2) * of_one, rel=0.1)


def test_joint_scores_of_other_rows_are_not_paired(run: Run):
    """A task more on the same texts leaves rows out; each task's own test split is the same."""
    fewer = tuple(score.model_copy(update={"num_test": score.num_test - 1}) for score in run.scores)
    assert run.scores
    for scores, paired in ((run.scores, True), (fewer, False)):
        changes = diff_runs(run, replace(run, scores=scores)).scores
        assert {change.paired for change in changes} == {paired}


def test_the_same_run_twice_differs_in_nothing(run: Run):
    diff = diff_runs(run, run)
    assert diff.spec == ()
    assert diff.only == ()
    assert diff.names == ("quickstart (first)", "quickstart (second)")
    assert all(cell.estimate.value == 0 for _, m in diff.matrices for cell in m.all_cells if cell.estimate)
    assert not any(cell.discovery for _, m in diff.matrices for cell in m.all_cells)


def test_terminal_json_and_page_show_the_same(run: Run, second: Path, folder: Path, cli, tmp_path: Path):
    diff = diff_runs(run, read_run(second))
    console = Console(file=io.StringIO(), width=100)
    print_diff(diff, console)
    page = diff_page(diff)
    for text in (console.file.getvalue(), page):
        for words in ("schedule.max_steps", "+5.0", "missing"):
            assert words in text
    status, out, err = cli("report", "diff", folder, second, "--json", "--html", tmp_path / "diff.html")
    assert status == 0, err
    assert json.loads(out) == json.loads(json.dumps(diff_json(diff)))
    assert (tmp_path / "diff.html").read_text(encoding="utf-8") == page
    assert json.loads(out)["names"] == ["quickstart", "second"]
