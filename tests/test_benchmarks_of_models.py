"""What the benchmarks of trained models stand on: the attack, its synonyms, choices, forgetting."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def attack(benchmarks):
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


def test_a_radius_is_the_most_robust_of_those_that_keep_clean_accuracy(benchmarks):
    from robustness import best_radius

    tried = {0.3: {"clean": 0.8, "attacked": 0.4}, 1.0: {"clean": 0.795, "attacked": 0.5}}
    tried[3.0] = {"clean": 0.7, "attacked": 0.6}
    assert best_radius(tried, {"clean": 0.8}) == 1.0
    assert best_radius(tried, {"clean": 0.9}) == 0.3


def test_forgetting_is_that_of_chaudhry(benchmarks):
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


def test_synonyms_are_those_of_the_commonest_part_of_speech(benchmarks, tmp_path):
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
