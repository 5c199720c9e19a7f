from __future__ import annotations

import csv
import io

import pytest

from sslm_platform.report.matrix import Cell, State
from sslm_platform.report.numbers import Scale, detectable_text, duration, scale_for, scale_of, short_names
from sslm_platform.report.run import Run
from sslm_platform.report.tables import (
    CELL_COLUMNS,
    GAIN_COLUMNS,
    cell_rows,
    first_line,
    gain_rows,
    markdown_table,
    matrix_csv,
    matrix_markdown,
    to_csv,
)
from sslm_platform.report.views import families
from sslm_platform.statistics import Estimate


@pytest.mark.parametrize(
    ("values", "best", "expected"),
    [
        ([0.5, -0.1], 1.0, Scale(100, 1)),
        ([], 1.0, Scale(100, 1)),
        ([24.1, 812.0], 1.0, Scale(1, 1)),
        ([812.0], 1.0, Scale(1, 0)),
        ([0.5], 0.0, Scale(1, 2)),
        ([float("nan"), 3.2], 0.0, Scale(1, 2)),
        ([0.0], 0.0, Scale(1, 2)),
        ([0.0042, 0.0031], 0.0, Scale(1, 4)),
        ([0.034, 0.00001], 0.0, Scale(1, 3)),
    ],
)
def test_scale_fits_the_metric(values: list[float], best: float, expected: Scale):
    assert scale_for(values, best) == expected


def test_a_small_gain_in_perplexity_is_no_percentage():
    cell = Cell(State.OK, Estimate(0.4), score=12.0, metric="perplexity", higher_is_better=False, best=1.0)
    assert scale_of([cell, Cell(State.MISSING)]) == Scale(1, 2)
    assert scale_of([Cell(State.OK, Estimate(0.4), score=0.9)]) == Scale(100, 1)


def test_what_rounds_to_zero_has_no_sign():
    scale = Scale(100, 1)
    assert [scale.text(value, signed=True) for value in (-0.0001, 0.0001, 0.012, -0.012)] == [
        "0.0",
        "0.0",
        "+1.2",
        "-1.2",
    ]
    assert scale.interval(Estimate(0.1)) == "no interval"


def test_names_are_shortened_only_where_nothing_is_lost():
    assert short_names(["s@a", "s@b"]) == {"s@a": "a", "s@b": "b"}
    assert short_names(["s@a", "t@a"]) == {"s@a": "s@a", "t@a": "t@a"}
    assert short_names(["joint", "s@a"]) == {"joint": "joint", "s@a": "s@a"}
    assert short_names([""]) == {"": "no source"}


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.06, "8.1 s"), (59.99, "60.0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_duration(seconds: float, text: str):
    assert duration(seconds) == text


def test_the_line_of_an_error_that_says_something():
    assert first_line("Traceback (most recent call last):\n  x\nValueError: no\n") == "ValueError: no"
    assert first_line("\nspec.yaml: no\nmore") == "spec.yaml: no"
    assert first_line("") == ""


def test_cells_csv_has_every_planned_cell_and_no_number_for_a_gap(run: Run):
    text = to_csv(CELL_COLUMNS, cell_rows(run.plan, run.cells))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(run.plan.cells)
    for row in rows:
        record = run.cells.get(row["id"])
        if row["state"] == "ok":
            assert record is not None
            assert float(row["value"]) == record.scores[record.metric].value
        else:
            assert row["value"] == row["low"] == row["high"] == ""
            assert row["state"] == ("failed" if record else "missing")
    assert {row["state"] for row in rows} == {"ok", "failed", "missing"}


def test_matrix_csv_keeps_full_precision_and_words(run: Run):
    family = families(run.plan, run.cells)[0]
    rows = {row["source"]: row for row in csv.DictReader(io.StringIO(matrix_csv(family.scores)))}
    assert rows["sentiment@news"]["sentiment@tweets"] == "missing"
    cell = family.scores.cells["sentiment@tweets", "sentiment@movies"]
    assert cell.estimate is not None
    assert float(rows["sentiment@tweets"]["sentiment@movies"]) == cell.estimate.value


def test_gains_csv_has_every_gain_with_its_test(run: Run):
    shown = families(run.plan, run.cells)
    rows = list(csv.DictReader(io.StringIO(to_csv(GAIN_COLUMNS, gain_rows(shown)))))
    cells = [(m, c) for family in shown for m in family.gains for c in m.all_cells if c.estimate]
    assert len(rows) == len(cells) > 0
    for row, (matrix, cell) in zip(rows, cells, strict=True):
        assert (row["protocol"], row["baseline"]) == (matrix.protocol, matrix.baseline)
        assert float(row["gain"]) == cell.estimate.value
        assert (row["discovery"] == "True") == (float(row["q"]) <= 0.05) == cell.discovery
        assert float(row["q"]) >= float(row["p"])
        assert (row["conditional"], row["p_seeds"]) == ("True", "")
    assert {row["discovery"] for row in rows} == {"True", "False"}


def test_a_matrix_says_what_it_could_have_found(run: Run):
    family = families(run.plan, run.cells)[0]
    assert detectable_text(family.scores) == ""
    gains = family.gains[0]
    low, high = gains.detectable
    text = detectable_text(gains)
    assert f"{100 * high:.1f} is found in any column with power 80%" in text
    assert f"{100 * low:.1f}." in text
    assert text in matrix_markdown(gains)


def test_markdown_cells_cannot_break_the_table():
    assert markdown_table(["a"], [["x|y"]]).splitlines()[2] == "| x\\|y |"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("all but s@a", "s@b → s@c"), ("all but a", "b → c")),
        (("s@a + s@b", ""), ("s@a + s@b", "no source")),  # what has no task may be of any
        (("s@a → t@b", "s@a"), ("s@a → t@b", "s@a")),
        (("all but zh (2 tasks)", "s@a"), ("all but zh (2 tasks)", "s@a")),
    ],
)
def test_names_of_several_tasks_are_shortened_alike(names, expected):
    assert tuple(short_names(names).values()) == expected
