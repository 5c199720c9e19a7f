from __future__ import annotations

import numpy as np
import pytest

from sslm_platform.report.matrix import Cell, Matrix, State
from sslm_platform.report.order import clustered
from sslm_platform.statistics import Estimate


def matrix(values_RC: np.ndarray, rows: tuple[str, ...], cols: tuple[str, ...]) -> Matrix:
    cells = {
        (row, col): Cell(State.MISSING)
        if np.isnan(value)
        else Cell(State.OK, estimate=Estimate(float(value)))
        for row, values in zip(rows, values_RC, strict=True)
        for col, value in zip(cols, values, strict=True)
    }
    return Matrix("full/probe", "gain", "pretrained", rows, cols, cells)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_alike_stands_together_and_the_diagonal_stays_one(seed: int):
    """Two blocks whose members help each other, shuffled: each block is contiguous again."""
    names = np.array(["a1", "a2", "a3", "b1", "b2", "b3", "b4"])
    values_RC = np.where(np.char.find(names[:, None], "a") == np.char.find(names[None], "a"), 0.5, -0.5)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    values_RC = values_RC[np.ix_(shuffled, shuffled)]
    values_RC[0, 1] = np.nan
    shown = tuple(names[shuffled].tolist())
    rows, cols = clustered(matrix(values_RC, shown, shown))
    assert rows == cols
    assert sorted(rows) == sorted(names)
    kinds = "".join(name[0] for name in rows)
    assert kinds in ("aaabbbb", "bbbbaaa")


def test_rows_and_columns_of_other_names_are_ordered_each_by_itself():
    values_RC = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.1, 0.9], [np.nan, np.nan, np.nan]])
    rows, cols = clustered(matrix(values_RC, ("p", "q", "r", "s"), ("x", "y", "z")))
    assert abs(rows.index("p") - rows.index("r")) == 1
    assert cols.index("y") in (0, 2)
    assert clustered(matrix(np.zeros((1, 2)), ("p",), ("x", "y"))) == (("p",), ("x", "y"))
    assert clustered(matrix(np.zeros((0, 0)), (), ())) == ((), ())
