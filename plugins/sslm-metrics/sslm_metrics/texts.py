"""What generated texts are like: equal to the reference, diverse, long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from sslm_metrics.counts import ratio
from sslm_platform.api import (
    DecomposableMetric,
    Metric,
    MetricContext,
    MetricDef,
    Options,
    OutputKind,
    Scored,
)

TEXTS = frozenset({OutputKind.GENERATED_TEXT})


class DistinctOptions(Options):
    """Options of ``distinct``."""

    order: int = Field(default=2, ge=1, le=4, description="Words (or characters) of an n-gram.")
    characters: bool = Field(default=False, description="Count characters, for writing without spaces.")


class SameText(DecomposableMetric):
    """Share of predictions that are the reference, spacing apart, 0 to 1."""

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return whether each is right, and 1, (N, 2)."""
        pairs = zip(scored.predictions, scored.references, strict=True)
        return np.array([[p.split() == r.split(), 1.0] for p, r in pairs], dtype=np.float64)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return the share."""
        return ratio(totals_RK[:, 0], totals_RK[:, 1])


class Distinct(Metric):
    """Different n-grams of all predictions, divided by all n-grams, 0 to 1 (distinct-n; Li et al. 2016, 4.2).

    The value falls with the number of texts, so that only data sets of one size compare, and a resample,
    which has fewer different texts, is below the whole.
    """

    def __init__(self, options: DistinctOptions) -> None:
        self._order = options.order
        self._characters = options.characters

    def score(self, scored: Scored) -> float:
        """Return the share."""
        return float(self.resample(scored, np.ones((1, len(scored))))[0])

    def resample(self, scored: Scored, counts_RN: np.ndarray) -> np.ndarray:
        """Return the shares, (R,): an n-gram is there if an example that has it is drawn."""
        from scipy.sparse import csr_array

        grams = [self._ngrams(text) for text in scored.predictions]
        ids = {gram: i for i, gram in enumerate(sorted({gram for found in grams for gram in found}))}
        rows = [n for n, found in enumerate(grams) for _ in set(found)]
        columns = [ids[gram] for found in grams for gram in sorted(set(found))]
        shape = (len(grams), max(1, len(ids)))
        has_NG = csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
        drawn_RN = csr_array((counts_RN > 0).astype(np.float64))
        different_R = np.diff((drawn_RN @ has_NG).indptr).astype(np.float64)
        return ratio(different_R, counts_RN @ np.array([float(len(found)) for found in grams]))

    def _ngrams(self, text: str) -> list[tuple[str, ...]]:
        units: Sequence[str] = [c for c in text if not c.isspace()] if self._characters else text.split()
        return [tuple(units[i : i + self._order]) for i in range(len(units) - self._order + 1)]


class LengthRatio(DecomposableMetric):
    """Characters of all predictions divided by characters of all references; 1 is the references' length."""

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return the lengths of prediction and reference, (N, 2)."""
        pairs = zip(scored.predictions, scored.references, strict=True)
        return np.array([[len(p), len(r)] for p, r in pairs], dtype=np.float64)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return the ratio."""
        return ratio(totals_RK[:, 0], totals_RK[:, 1])


def _build_same_text(options: Options, context: MetricContext) -> Metric:
    return SameText()


def _build_distinct(options: DistinctOptions, context: MetricContext) -> Metric:
    return Distinct(options)


def _build_length_ratio(options: Options, context: MetricContext) -> Metric:
    return LengthRatio()


DEFINITIONS = (
    MetricDef("same_text", _build_same_text, accepts=TEXTS, summary="Share of texts that are the reference."),
    MetricDef(
        "distinct",
        _build_distinct,
        accepts=TEXTS,
        options=DistinctOptions,
        descriptive=True,
        summary="Share of different n-grams among all that were generated.",
    ),
    MetricDef(
        "length_ratio",
        _build_length_ratio,
        accepts=TEXTS,
        descriptive=True,
        summary="Characters generated, divided by the references'.",
    ),
)
