"""True positives, predicted and gold counts of K classes, and the scores made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums of R samples, (R, K) each."""

    correct: np.ndarray
    predicted: np.ndarray
    gold: np.ndarray

    @classmethod
    def of_totals(cls, totals_R3K: np.ndarray) -> Counts:
        """Read (R, 3 K) totals: all classes' true positives, then predicted, then gold counts."""
        return cls(*np.split(totals_R3K, 3, axis=1))

    def merged(self) -> Counts:
        """Return the counts summed over classes, (R, 1) each."""
        return Counts(
            self.correct.sum(axis=1, keepdims=True),
            self.predicted.sum(axis=1, keepdims=True),
            self.gold.sum(axis=1, keepdims=True),
        )


Score = Callable[[Counts], np.ndarray]


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; 0/0 is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def precision(counts: Counts) -> np.ndarray:
    """Return true positives / predicted, (R, K)."""
    return ratio(counts.correct, counts.predicted)


def recall(counts: Counts) -> np.ndarray:
    """Return true positives / gold, (R, K)."""
    return ratio(counts.correct, counts.gold)


def f1(counts: Counts) -> np.ndarray:
    """Return 2 true positives / (predicted + gold), (R, K)."""
    return ratio(2 * counts.correct, counts.predicted + counts.gold)


def by_class(counts: Counts, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and the number of gold items of each class, from counts of one sample."""
    columns = {
        "precision": precision(counts),
        "recall": recall(counts),
        "f1": f1(counts),
        "gold": counts.gold,
    }
    return {
        name: {column: float(value_1K[0, place]) for column, value_1K in columns.items()}
        for place, name in enumerate(names)
        if counts.gold[0, place] or counts.predicted[0, place]
    }


def macro(score: Score) -> Score:
    """Average over the classes that are gold or predicted somewhere in the sample, (R,).

    This is scikit-learn's default (``labels=None``), and holds for each resample by itself.
    """

    def average(counts: Counts) -> np.ndarray:
        present_RK = (counts.predicted + counts.gold) > 0
        return ratio((score(counts) * present_RK).sum(axis=1), present_RK.sum(axis=1, dtype=np.float64))

    return average


def micro(score: Score) -> Score:
    """Score the counts summed over classes, (R,)."""
    return lambda counts: score(counts.merged())[:, 0]


def class_counts(predictions: ArrayLike, references: ArrayLike, num_classes: int) -> np.ndarray:
    """Return the (3 K,) counts of one example's items; ids outside 0..K-1 belong to no class."""
    predicted, gold = np.atleast_1d(predictions), np.atleast_1d(references)
    kinds = (predicted[predicted == gold], predicted, gold)
    return np.concatenate(
        [np.bincount(ids[(ids >= 0) & (ids < num_classes)], minlength=num_classes) for ids in kinds]
    ).astype(np.float64)
