"""How high a ranking has what is right: accuracy at 1 is in :mod:`sslm_metrics.classification`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from sslm_metrics.counts import ratio
from sslm_platform.api import DecomposableMetric, Metric, MetricContext, MetricDef, OutputKind, Scored

RANKED = frozenset({OutputKind.CHOICE_LOGITS, OutputKind.RANKING})


class RankingMetric(DecomposableMetric):
    """A mean over examples of what the ranks of the right candidates are worth; ranks count from 1.

    What a ranking does not have is not found. Rankings have no ties: whoever made them has broken them.
    """

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return each example's value and 1, (N, 2)."""
        pairs = zip(scored.predictions, scored.references, strict=True)
        values = [[self.value(1 + np.flatnonzero(np.isin(p, r)), len(r)), 1.0] for p, r in pairs]
        return np.array(values, dtype=np.float64).reshape(-1, 2)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return ratio(totals_RK[:, 0], totals_RK[:, 1])

    @abstractmethod
    def value(self, ranks: np.ndarray, num_right: int) -> float:
        """Return what one example is worth, 0 to 1, by the rising ranks of its right candidates."""


class MeanReciprocalRank(RankingMetric):
    """Mean of 1 / rank of the first right candidate (Voorhees 1999)."""

    def value(self, ranks: np.ndarray, num_right: int) -> float:
        """Return 1 / the first rank."""
        return 1.0 / ranks[0] if len(ranks) else 0.0


class RecallAt(RankingMetric):
    """Mean share of the right candidates among the first k, of as many as can be there (capped recall of
    BEIR; Thakur et al. 2021, section 5). Of one right candidate it is how often that is among the first k.
    """

    def __init__(self, k: int) -> None:
        self.k = k

    def value(self, ranks: np.ndarray, num_right: int) -> float:
        """Divide those found by those that could be."""
        return np.count_nonzero(ranks <= self.k) / min(self.k, num_right)


class NdcgAt(RankingMetric):
    """Mean of sum_r 1 / log2(1 + rank) over right candidates among the first k, over its largest value
    (Järvelin & Kekäläinen 2002, with the discount of log2(1 + rank)).
    """

    def __init__(self, k: int) -> None:
        self.discount_K = 1.0 / np.log2(2.0 + np.arange(k))

    def value(self, ranks: np.ndarray, num_right: int) -> float:
        """Divide the discounted gain by that of the best ranking."""
        found = self.discount_K[ranks[ranks <= len(self.discount_K)] - 1].sum()
        return float(found / self.discount_K[:num_right].sum())


def _build(metric: Any, options: Any, context: MetricContext) -> Metric:
    return metric()


def _definitions() -> Iterator[MetricDef]:
    yield MetricDef(
        "mrr",
        partial(_build, MeanReciprocalRank),
        accepts=RANKED,
        summary="Mean reciprocal rank of the first right candidate.",
    )
    for k in (1, 5, 10):
        yield MetricDef(
            f"recall_at_{k}",
            partial(_build, partial(RecallAt, k)),
            accepts=RANKED,
            summary=f"Share of the right candidates among the first {k}, of as many as fit.",
        )
    yield MetricDef(
        "ndcg_at_10",
        partial(_build, partial(NdcgAt, 10)),
        accepts=RANKED,
        summary="Normalized discounted cumulative gain of the first 10 candidates.",
    )


DEFINITIONS = tuple(_definitions())
