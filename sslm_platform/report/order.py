"""Which rows and columns of a matrix stand beside each other where like is to stand beside like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sslm_platform.report.places import Matrix


def clustered(matrix: Matrix) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return rows and columns in the order of the leaves of a clustering.

    Average linkage of Euclidean distances, its leaves in the order that puts the least distance between
    neighbours (Bar-Joseph, Gifford and Jaakkola, *Fast optimal leaf ordering for hierarchical clustering*,
    2001). Rows are near whose values are near; a place without a value counts as its column's mean. Where
    rows and columns are the same names they keep one order, by both sides, so that the diagonal stays one.
    """
    values_RC = np.array(
        [[_value(matrix, row, col) for col in matrix.cols] for row in matrix.rows], dtype=np.float64
    ).reshape(len(matrix.rows), len(matrix.cols))
    values_RC = _filled(values_RC)
    if set(matrix.rows) == set(matrix.cols):
        of_cols = [matrix.cols.index(row) for row in matrix.rows]
        sides_RF = np.hstack([values_RC[:, of_cols], values_RC[:, of_cols].T])
        order = tuple(matrix.rows[i] for i in _leaves(sides_RF))
        return order, order
    rows, cols = _leaves(values_RC), _leaves(values_RC.T)
    return tuple(matrix.rows[i] for i in rows), tuple(matrix.cols[i] for i in cols)


def _value(matrix: Matrix, row: str, col: str) -> float:
    estimate = matrix.cells[row, col].estimate
    return estimate.value if estimate else np.nan


def _filled(values_RC: np.ndarray) -> np.ndarray:
    known_RC = ~np.isnan(values_RC)
    counts_C = np.maximum(known_RC.sum(axis=0), 1)
    means_C = np.where(known_RC, values_RC, 0.0).sum(axis=0) / counts_C
    return np.where(known_RC, values_RC, means_C)


def _leaves(items_NF: np.ndarray) -> Sequence[int]:
    if len(items_NF) < 3:
        return range(len(items_NF))
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import pdist

    return [int(i) for i in leaves_list(linkage(pdist(items_NF), "average", optimal_ordering=True))]
