"""What the benchmarks stand on: intervals, turns, result files and their page; one of them runs."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import measuring

    return measuring


def test_a_median_lies_in_its_interval_and_is_held_to_its_bound(measuring):
    found = measuring.median("ratio", [1.0, 1.2, 1.1, 9.0, 1.1], at_most=1.15)
    assert found.value == 1.1
    assert found.low == 1.0
    assert found.high == 9.0
    assert found.met
    assert measuring.median("ratio", [1.0, 1.2], at_least=2.0).met is False
    assert measuring.median("ratio", [1.0]).met is None


def test_sides_take_turns_and_each_begins_a_round(measuring):
    order = []
    sides = {name: lambda name=name: order.append(name) or float(len(order)) for name in "abc"}
    found = measuring.alternate(sides, 3)
    assert "".join(order) == "abcbcacab"
    assert found == {"a": [1.0, 6.0, 8.0], "b": [2.0, 4.0, 9.0], "c": [3.0, 5.0, 7.0]}


def test_the_page_shows_every_finding_with_its_bound(measuring, monkeypatch, tmp_path):
    import table

    findings = [
        measuring.Finding("speed", 1234.5, "tokens/s"),
        measuring.Finding("ratio", 1.5, "×", 1.4, 1.6, at_least=2.0),
    ]
    measuring.save(Namespace(out=tmp_path, threads=2), "toy", "A toy", findings, seconds=[1, 2])
    (tmp_path / "zero.json").write_text(json.dumps({"of another": "form"}))
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    monkeypatch.setattr(table, "TABLE", tmp_path / "page.md")
    table.write_table()
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "## A toy\n\n`benchmarks/toy.py`: " in page
    assert "| speed | 1,234 tokens/s |  |  |  |\n| ratio | 1.5 × | 1.4 to 1.6 | ≥ 2 | **missed** |" in page


def test_the_committed_page_is_that_of_the_committed_results(measuring, monkeypatch, tmp_path):
    import table

    monkeypatch.setattr(table, "TABLE", tmp_path / "page.md")
    table.write_table()
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == (FOLDER / "README.md").read_text(
        encoding="utf-8"
    )


def test_the_input_pipeline_is_measured_in_a_process_of_its_own(measuring, tmp_path):
    import input_pipeline

    input_pipeline.write_task(tmp_path / "task", 60)
    command = [sys.executable, str(FOLDER / "input_pipeline.py"), "--worker", str(tmp_path / "task"), "2"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == {"reading", "anonymous", "resident"}
    assert 100 < found["anonymous"] < found["resident"]  # MiB: torch alone takes that


@pytest.mark.slow
@pytest.mark.distributed
def test_matrices_cost_what_they_must(measuring, tmp_path):
    """One training a source, only a new domain's row and column, and a re-run that changes no byte."""
    import transfer_cost

    found = transfer_cost.counted(tmp_path / "domains", 2)
    missed = [f"{one.what}: {one.value}" for one in found if one.unit != "s" and not one.met]
    assert not missed


def test_what_is_kept_of_a_spec_stands_beside_that_of_others(measuring, tmp_path):
    import catalogue

    path = tmp_path / "catalogue.json"
    entries = {name: {"spec": name, "rows": [{"task": "t@d", "score": [0.5]}]} for name in "ba"}
    for name, entry in entries.items():
        catalogue.keep(path, name, entry)
    assert catalogue.kept(path) == entries
    assert list(catalogue.kept(path)) == ["a", "b"]
    assert catalogue.kept(tmp_path / "none.json") == {}


def test_a_specs_digest_is_not_that_of_another_place(measuring, monkeypatch):
    import catalogue

    monkeypatch.setenv("DATA", "/here")
    here = catalogue.digest(catalogue.opened("sentences", ()))
    shorter = catalogue.digest(catalogue.opened("sentences", catalogue.QUICK))
    monkeypatch.setenv("DATA", "/elsewhere/data")
    assert catalogue.digest(catalogue.opened("sentences", ())) == here != shorter


def test_the_nearest_sentence_has_most_of_the_questions_words(measuring):
    from floors import nearest

    context = "The cat sat. A dog barked at the red cat! Nobody came."
    start, end = nearest("Who barked at the cat?", context)
    assert context[start:end] == "A dog barked at the red cat!"
    assert tuple(nearest("What?", "One sentence ")) == (0, len("One sentence"))


def test_features_of_words_name_their_neighbours_and_shapes(measuring):
    from floors import described

    paris, of_1900 = described(["Paris", "1900"])
    assert {"w=paris", "shape=Xxxxx", "s3=ris", "w1=1900", "w-1=-"} <= set(paris)
    assert {"shape=0000", "w-1=paris", "w1=-"} <= set(of_1900)
