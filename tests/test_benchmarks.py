"""What the benchmarks stand on: intervals, turns, result files and their page; one of them runs."""

import json
import subprocess
import sys
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
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


@pytest.fixture
def attack(measuring):
    import attack

    return attack


SYNONYMS = {"dull": ["slow", "tedious"], "good": ["fine", "decent"], "film": ["movie"], "very": ["truly"]}
SCORES = {"dull": -3.0, "slow": -1.0, "tedious": 1.0, "good": 1.0, "fine": 2.0, "decent": -1.0}


def of_words(texts):
    """Say how positive the sum of the words' scores is: (N, 2), negative first."""
    totals = np.array([sum(SCORES.get(w, 0.0) for w in text.lower().rstrip(".").split()) for text in texts])
    positive_N = 1.0 / (1.0 + np.exp(-totals))
    return np.stack([1.0 - positive_N, positive_N], axis=1)


def test_an_attack_takes_the_synonym_that_hurts_most(attack):
    found = attack.attack("A good film.", 1, of_words, SYNONYMS, "?", attack.Budget(share=0.4))
    assert found.text == "A decent film."
    assert found.fooled
    assert found.replaced == 1
    assert of_words([found.text]).argmax() == 0


def test_an_attack_keeps_to_its_budget_and_leaves_function_words(attack):
    text = "Dull and very dull."
    for share, candidates, expected in (
        (0.5, 8, "Tedious and very tedious."),
        (0.3, 8, "Tedious and very dull."),
        (0.5, 1, "Slow and very slow."),
    ):
        found = attack.attack(text, 0, of_words, SYNONYMS, "?", attack.Budget(share, candidates))
        assert found.text == expected
        assert found.fooled == (of_words([found.text]).argmax() != 0)


def test_a_text_without_synonyms_is_not_changed(attack):
    found = attack.attack("It is what it is.", 0, of_words, SYNONYMS, "?", attack.Budget())
    assert (found.text, found.fooled, found.replaced) == ("It is what it is.", False, 0)


def test_a_radius_is_the_most_robust_of_those_that_keep_clean_accuracy(measuring):
    from robustness import best_radius

    tried = {0.3: {"clean": 0.8, "attacked": 0.4}, 1.0: {"clean": 0.795, "attacked": 0.5}}
    tried[3.0] = {"clean": 0.7, "attacked": 0.6}
    assert best_radius(tried, {"clean": 0.8}) == 1.0
    assert best_radius(tried, {"clean": 0.9}) == 0.3


def test_forgetting_is_that_of_chaudhry(measuring):
    from forgetting import STAGES, figures
    from learning import Score

    after = {1: (0.9, 0.1, 0.2), 2: (0.5, 0.8, 0.1), 3: (0.6, 0.7, 0.9)}
    course = {
        k: {task: Score(r, (r, r), 50) for task, r in zip(STAGES.values(), row, strict=True)}
        for k, row in after.items()
    }
    found = {name: sample.value for name, sample in figures({1: course, 2: course}).items()}
    assert found["forgetting"] == pytest.approx((0.3 + 0.1) / 2)
    assert found["backward transfer"] == pytest.approx((-0.3 - 0.1) / 2)
    assert found["mean score of the tasks at the end"] == pytest.approx(2.2 / 3)


def test_synonyms_are_those_of_the_commonest_part_of_speech(measuring, tmp_path):
    """Two senses of `bank` as a noun, of which SemCor has one; one as a verb, which is rarer."""
    import synonyms

    content = {
        "cntlist.rev": "bank%1:17:00:: 1 20\nbank%2:40:00:: 1 3\nshore%1:17:00:: 1 2",
        "data.noun": "  1 a licence\n001 17 n 02 bank 0 shore 0 000 | slope\n"
        "002 14 n 03 bank 0 depository_bank 0 thrift 0 000 | firm",
        "index.noun": "  1 a licence\nbank n 2 1 @ 2 1 001 002\nshore n 1 1 @ 1 1 001",
        "data.verb": "003 40 v 02 bank 0 deposit 0 000 | put",
        "index.verb": "bank v 1 1 @ 1 1 003",
        **dict.fromkeys(("data.adj", "index.adj", "data.adv", "index.adv"), ""),
    }
    path = tmp_path / "wordnet.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        for name, text in content.items():
            bundle.writestr(f"{synonyms.FOLDER}/{name}", text)
    assert synonyms.read_synonyms(path) == {"bank": ["shore"], "shore": ["bank"]}
