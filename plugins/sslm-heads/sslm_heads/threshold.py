"""The threshold of probabilities that gives the best micro F1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_threshold(probability_NK: np.ndarray, references: Sequence[np.ndarray]) -> float:
    """Return the threshold t whose predictions {k: p_k >= t} have the best micro F1; of equals the highest.

    Every cut between two probabilities that occur is tried, and t lies in their middle (Lipton et al. 2014,
    "Optimal thresholding of classifiers to maximize F1 measure").

    Args:
        probability_NK: of each label of each example.
        references: the ids of each example's labels; ids below 0, which no prediction can have, are misses.
    """
    gold_NK = np.zeros(probability_NK.shape, dtype=bool)
    for row_K, ids in zip(gold_NK, references, strict=True):
        row_K[ids[ids >= 0]] = True
    num_gold = sum(len(ids) for ids in references)
    order = np.argsort(-probability_NK, axis=None, kind="stable")
    score_M, right_M = probability_NK.ravel()[order], np.cumsum(gold_NK.ravel()[order])
    f1_M = 2 * right_M / (np.arange(1, len(order) + 1) + num_gold)
    following_M = np.append(score_M[1:], 0.0)
    f1_M[score_M == following_M] = -1.0  # equal probabilities cannot be parted
    best = int(np.argmax(f1_M))
    return float((score_M[best] + following_M[best]) / 2)
