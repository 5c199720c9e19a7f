"""Scores of entities (chunks of BIO tags, as seqeval reads them) and of token types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from sslm_metrics.counts import Counts, Score, class_counts, f1, macro, micro, precision, recall
from sslm_platform.api import (
    DecomposableMetric,
    Metric,
    MetricContext,
    MetricDef,
    OutputKind,
    Scored,
    SpecError,
)

OUTSIDE = "O"
UNSEEN = "(unseen)"  # the type of gold tags that the head does not know: nothing predicted can be right


class EntityMetric(DecomposableMetric):
    """A score of the counts of entities by type; an entity is right if its type and all its words are."""

    def __init__(self, score: Score, labels: Sequence[str]) -> None:
        from seqeval.metrics.sequence_labeling import get_entities

        self.entities: Callable[[list[str]], list[tuple[str, int, int]]] = get_entities
        self.final = score
        # id -1: a word that truncation cut off was predicted as outside
        self.predicted, self.gold = (*labels, OUTSIDE), (*labels, f"I-{UNSEEN}")
        self.types = {name: i for i, name in enumerate([*_types(labels), UNSEEN])}

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return right, predicted and gold entities of each type, (N, 3 (num_types + 1))."""
        statistics_N3K = np.zeros((len(scored), 3, len(self.types)))
        for row_3K, prediction, reference in zip(
            statistics_N3K, scored.predictions, scored.references, strict=True
        ):
            predicted, gold = self._chunks(prediction, self.predicted), self._chunks(reference, self.gold)
            for counts_K, chunks in zip(row_3K, (predicted & gold, predicted, gold), strict=True):
                for chunk in chunks:
                    counts_K[self.types[chunk[0]]] += 1
        return statistics_N3K.reshape(len(scored), -1)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Score the summed counts."""
        return self.final(Counts.of_totals(totals_RK))

    def _chunks(self, ids: np.ndarray, names: Sequence[str]) -> set[tuple[str, int, int]]:
        return set(self.entities([names[i] for i in ids]))


class TokenTypeMetric(DecomposableMetric):
    """A score over words of the tags' types: ``B-X`` and ``I-X`` are both X, and O is not averaged."""

    def __init__(self, score: Score, labels: Sequence[str]) -> None:
        self.final = score
        self.types = _types(labels)
        index = {name: i for i, name in enumerate(self.types)}
        type_of = [index.get(_type(label), -1) for label in labels]
        self.predicted, self.gold = np.array([*type_of, -1]), np.array([*type_of, len(self.types)])

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return right, predicted and gold words of each type, (N, 3 (num_types + 1))."""
        num_types = len(self.types) + 1
        pairs = zip(scored.predictions, scored.references, strict=True)
        return np.stack([class_counts(self.predicted[p], self.gold[r], num_types) for p, r in pairs])

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Score the summed counts."""
        return self.final(Counts.of_totals(totals_RK))


def _type(label: str) -> str:
    return label[2:] if label[:2] in ("B-", "I-") else label


def _types(labels: Sequence[str]) -> list[str]:
    return sorted({_type(label) for label in labels if label != OUTSIDE})


def _build(
    name: str, metric: Callable[[Score, Sequence[str]], Metric], score: Score, _: Any, context: MetricContext
) -> Metric:
    wrong = [label for label in context.labels if label != OUTSIDE and label[:2] not in ("B-", "I-")]
    if wrong:
        raise SpecError(
            f"metric {name!r} reads BIO tags (O, B-X, I-X), not {wrong[0]!r}; for plain tags use macro_f1"
        )
    return metric(score, context.labels)


def _definition(
    name: str, metric: Callable[[Score, Sequence[str]], Metric], score: Score, summary: str
) -> MetricDef:
    return MetricDef(
        name,
        partial(_build, name, metric, score),
        accepts=frozenset({OutputKind.TOKEN_LOGITS}),
        summary=summary,
    )


DEFINITIONS = (
    _definition("entity_f1", EntityMetric, micro(f1), "F1 of entities (seqeval)."),
    _definition("entity_precision", EntityMetric, micro(precision), "Precision of entities (seqeval)."),
    _definition("entity_recall", EntityMetric, micro(recall), "Recall of entities (seqeval)."),
    _definition("entity_macro_f1", EntityMetric, macro(f1), "F1 of entities, averaged over types."),
    _definition("token_macro_f1", TokenTypeMetric, macro(f1), "F1 of words' types, averaged over types."),
)
