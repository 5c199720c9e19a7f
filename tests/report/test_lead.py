from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from sslm_platform.report.lead import advice, lead
from sslm_platform.report.matrix import Cell, Matrix, Relation, State
from sslm_platform.report.run import Run
from sslm_platform.report.views import Family, families
from sslm_platform.statistics import Sample, infer

SEEDS = tuple(range(1, 6))


def cell(gain: float, error: float, *, q: float, relation: Relation = Relation.APART) -> Cell:
    rng = np.random.default_rng(0)
    resamples_SR = gain + error * rng.normal(size=(1, 400)).repeat(len(SEEDS), axis=0)
    values_S = gain + 1e-6 * rng.normal(size=len(SEEDS))
    inference = infer(Sample(SEEDS, values_S, resamples_SR, 500, len(SEEDS)))
    assert inference is not None
    return Cell(
        State.OK,
        estimate=inference.estimate(),
        score=0.5,
        metric="f1",
        inference=inference,
        q=q,
        relation=relation,
    )


def family(cells: Mapping[tuple[str, str], Cell], like: Family) -> Family:
    rows, cols = (tuple(dict.fromkeys(place[side] for place in cells)) for side in (0, 1))
    gain = Matrix("full/probe", "gain", "pretrained", rows, cols, cells)
    return replace(like, gains=(gain,))


@pytest.fixture
def like(run: Run) -> Family:
    return families(run.plan, run.cells)[0]


def test_the_clearest_is_that_of_most_standard_errors_and_the_diagonal_does_not_count(like: Family):
    cells = {
        ("a@x", "a@x"): cell(0.9, 0.01, q=0.0, relation=Relation.SAME),
        ("b@x", "a@x"): cell(0.20, 0.05, q=0.01),
        ("c@x", "a@x"): cell(0.10, 0.01, q=0.001),
        ("a@x", "b@x"): cell(-0.08, 0.02, q=0.02),
        ("b@x", "b@x"): cell(0.3, 0.01, q=0.0, relation=Relation.SAME),
        ("c@x", "b@x"): cell(0.05, 0.05, q=0.4),
    }
    text = lead([family(cells, like)])
    assert text.startswith("4 pairs of a source and a target that it was not trained on were compared")
    assert "2 help, 1 harm, 1 undecided" in text
    assert "The clearest gain: c@x → a@x, +10.0" in text
    assert "The clearest harm: a@x → b@x, -8.0" in text
    assert "most often" not in text  # one discovery each is no pattern


def test_advice_is_the_largest_significant_gain_or_none(like: Family):
    cells = {
        ("a@x", "a@x"): cell(0.9, 0.01, q=0.0, relation=Relation.SAME),
        ("b@x", "a@x"): cell(0.20, 0.05, q=0.01),
        ("joint", "a@x"): cell(0.10, 0.01, q=0.001, relation=Relation.INCLUDES),
        ("a@x", "b@x"): cell(-0.08, 0.02, q=0.02),
        ("b@x", "b@x"): cell(0.3, 0.01, q=0.0, relation=Relation.SAME),
        ("joint", "b@x"): cell(0.05, 0.05, q=0.4, relation=Relation.INCLUDES),
    }
    first, second = advice([family(cells, like)])
    assert (first.target, first.source, first.q, first.num_better) == ("a@x", "b@x", "0.010", 2)
    assert first.gain.startswith("+20.0 [+")
    assert (second.target, second.source, second.num_better) == ("b@x", "", 0)


def test_without_tests_there_is_no_paragraph(run: Run):
    assert lead(()) == ""
    assert lead(families(run.plan, {})) == ""


def test_what_is_left_out_of_a_set_is_no_harm_to_it(like: Family):
    """A task that loses without its own data says nothing of transfer between two."""
    cells = {
        ("all but a@x", "a@x"): cell(-0.12, 0.01, q=0.001),
        ("all but a@x", "b@x"): cell(-0.2, 0.01, q=0.001, relation=Relation.INCLUDES),
        ("all but b@x", "a@x"): cell(0.0, 0.01, q=0.9, relation=Relation.INCLUDES),
        ("all but b@x", "b@x"): cell(0.01, 0.02, q=0.4),
    }
    left_out = family(cells, like)
    matrix = replace(left_out.gains[0], protocol="leave_one_out/zero_shot", baseline="full_set")
    text = lead([replace(left_out, gains=(matrix,))])
    assert text.startswith("Of 2 tasks whose own data were left out of a set, 1 lose, 0 gain, 1 undecided.")
    assert "The clearest loss: all but a@x → a@x, -12.0" in text
    pairs = {("a@x", "b@x"): cell(0.1, 0.01, q=0.01), ("c@x", "b@x"): cell(0.05, 0.05, q=0.4)}
    both = lead([family(pairs, like), replace(left_out, gains=(matrix,))])
    assert "1 help, 0 harm, 1 undecided" in both
