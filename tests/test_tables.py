"""Every kind of answer has a row on a terminal."""

import pytest
from rich.console import Console

from sslm_platform.tables import prediction_table

PAIR = {"question": "who?", "context": "Ada did."}


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ({"text": "a", "label": "x", "probabilities": {"x": 0.75, "y": 0.25}}, ["a", "x", "0.75"]),
        (
            {"text": "a", "labels": ["x", "y"], "probabilities": {"x": 0.9, "y": 0.6}},
            ["a", "x, y", "0.60 (least)"],
        ),
        ({"text": "a", "labels": [], "probabilities": {"x": 0.1}}, ["a", "none"]),
        ({"text": "a", "text_pair": "b", "value": 1.5}, ["a | b", "1.500"]),
        (
            {"tokens": ["Ada", "did"], "tags": ["B-PER", "O"], "probability": [0.8, None]},
            ["Ada did", "Ada[B-PER] did", "0.80 (least)"],
        ),
        (PAIR | {"answer": "Ada"}, ["who? | Ada did.", "Ada"]),
        (PAIR | {"answer": None}, ["who? | Ada did.", "no answer"]),
        ({"text": "a", "generated": "un [texte]"}, ["a", "un [texte]"]),
        ({"tokens": ["Ada", "did"], "tags": ["B-PER", "O"]}, ["Ada did", "Ada[B-PER] did", ""]),  # of a CRF
        ({"tokens": ["play", "it"], "label": "x", "probabilities": {"x": 1.0}}, ["play it", "x", "1.00"]),
    ],
)
def test_each_kind_of_answer_has_a_row(answer, shown):
    console = Console(width=200, file=None, record=True)
    with console.capture() as captured:
        console.print(prediction_table([answer]))
    for part in shown:
        assert part in captured.get()
