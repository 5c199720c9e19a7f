"""The page of the catalogue says of a kept entry what it holds, and marks what is beyond doubt."""

import runpy
from pathlib import Path

import pytest

PAGE = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "catalogue.py"))
ROW = {
    "task": "mlm@numpy",
    "objective": "mlm",
    "wrapper": "fgm",
    "head": "lm",
    "primary": "bits_per_token",
    "higher_is_better": False,
    "scores": {"bits_per_token": [8.5, 8.25, 8.75], "perplexity": [362.0, 304.4, 430.5]},
    "baselines": {"majority": {"score": [10.5, 10.25, 10.75], "lead": [2.0, 1.5, 2.5]}},
    "num_train": 1500,
    "num_test": 150,
}
ENTRY = {
    "date": "2026-11-26",
    "device": "a GPU, torch 2.13.0",
    "seconds": 61.4,
    "budget": {"steps": 1150, "tokens": 98765, "seed": 3},
    "uses": {"augmenter": ["random_swap"]},
    "rows": [ROW],
}


def test_a_spec_has_its_budget_and_a_row_for_each_task():
    text = "\n".join(PAGE["spec_section"]("masking", ENTRY))
    assert "1,150 steps, 98,765 tokens, seed 3; 61 s on a GPU, torch 2.13.0; 2026-11-26." in text
    score = "bits_per_token ↓ | 8.500 [8.250, 8.750] | majority **10.5**"
    assert f"| mlm@numpy | fgm(mlm) → lm | 1,500 / 150 | {score} |" in text


def test_a_spec_that_was_not_measured_says_so():
    text = "\n".join(PAGE["spec_section"]("masking", None))
    assert text.endswith("Not measured.\n")


@pytest.mark.parametrize(
    ("lead", "text"),
    [([0.1, 0.05, 0.2], "**0.500**"), ([-0.1, -0.2, -0.05], "*0.500*"), ([0.1, -0.1, 0.3], "0.500")],
)
def test_marks_follow_the_interval_of_the_difference(lead, text):
    assert PAGE["marked"]({"score": [0.5, 0.4, 0.6], "lead": lead}) == text


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [
        ("objective", "mlm", "bits_per_token 8.500 [8.250, 8.750] (majority 10.5)"),
        ("wrapper", "fgm", "bits_per_token 8.500"),
        ("augmenter", "random_swap", "bits_per_token 8.500"),
        ("metric", "perplexity", "mlm@numpy: 362.0 [304.4, 430.5]"),
    ],
)
def test_a_definition_is_found_where_it_was_used(kind, name, found):
    (place,) = PAGE["places_of"]("masking", ENTRY, kind, name)
    assert place.startswith("[masking](../task_specs/masking.yaml), ")
    assert found in place
    assert not list(PAGE["places_of"]("masking", ENTRY, kind, "another"))
