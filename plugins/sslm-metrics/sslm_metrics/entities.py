"""Scores of entities (chunks of BIO tags, as seqeval reads them) and of token types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field

from sslm_metrics.counts import Counts, Score, by_class, class_counts, f1, macro, micro, precision, recall
from sslm_platform.api import (
    DecomposableMetric,
    Metric,
    MetricContext,
    MetricDef,
    Options,
    OutputKind,
    Scored,
    SpecError,
)

OUTSIDE = "O"
UNSEEN = "(unseen)"  # the type of gold tags that the head does not know: nothing predicted can be right


Chunker = Callable[[list[str]], list[tuple[str, int, int]]]


class EntityOptions(Options):
    """Options of the scores of entities."""

    mode: Literal["default", "strict"] = Field(
        default="default",
        description="What an I- that continues nothing is: the begin of an entity (as in conlleval), or, if"
        " `strict`, none (seqeval's strict mode with IOB2).",
    )


def strict_entities(tags: list[str]) -> list[tuple[str, int, int]]:
    """Return (type, first, last) of the chunks that begin with B-; seqeval's strict IOB2."""
    found: list[tuple[str, int, int]] = []
    is_open = False
    for place, tag in enumerate(tags):
        letter, _, kind = tag.partition("-")
        if letter == "B":
            found.append((kind, place, place))
        elif is_open and letter == "I" and kind == found[-1][0]:
            found[-1] = (kind, found[-1][1], place)
        is_open = bool(found) and found[-1][2] == place
    return found


class EntityMetric(DecomposableMetric):
    """A score of the counts of entities by type; an entity is right if its type and all its words are."""

    def __init__(self, score: Score, labels: Sequence[str], options: EntityOptions) -> None:
        from seqeval.metrics.sequence_labeling import get_entities

        self.entities: Chunker = strict_entities if options.mode == "strict" else get_entities
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

    def details(self, scored: Scored) -> Mapping[str, Mapping[str, float]]:
        """Return the scores of each type of entity."""
        total_1K = self.statistics(scored).sum(axis=0, keepdims=True)
        return by_class(Counts.of_totals(total_1K), list(self.types))

    def _chunks(self, ids: np.ndarray, names: Sequence[str]) -> set[tuple[str, int, int]]:
        return set(self.entities([names[i] for i in ids]))


class TokenTypeMetric(DecomposableMetric):
    """A score over words of the tags' types: ``B-X`` and ``I-X`` are both X, and O is not averaged."""

    def __init__(self, score: Score, labels: Sequence[str], options: Options) -> None:
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

    def details(self, scored: Scored) -> Mapping[str, Mapping[str, float]]:
        """Return the scores of the words of each type, O apart."""
        total_1K = self.statistics(scored).sum(axis=0, keepdims=True)
        return by_class(Counts.of_totals(total_1K), [*self.types, UNSEEN])


def _type(label: str) -> str:
    return label[2:] if label[:2] in ("B-", "I-") else label


def _types(labels: Sequence[str]) -> list[str]:
    return sorted({_type(label) for label in labels if label != OUTSIDE})


def _build(
    name: str, metric: Callable[..., Metric], score: Score, options: Any, context: MetricContext
) -> Metric:
    wrong = [label for label in context.labels if label != OUTSIDE and label[:2] not in ("B-", "I-")]
    if wrong:
        raise SpecError(
            f"metric {name!r} reads BIO tags (O, B-X, I-X), not {wrong[0]!r}; for plain tags use macro_f1"
        )
    return metric(score, context.labels, options)


def _definition(name: str, metric: Callable[..., Metric], score: Score, summary: str) -> MetricDef:
    return MetricDef(
        name,
        partial(_build, name, metric, score),
        accepts=frozenset({OutputKind.TOKEN_LOGITS, OutputKind.TAG_PAIR_LOGITS}),
        options=EntityOptions if metric is EntityMetric else Options,
        summary=summary,
    )


DEFINITIONS = (
    _definition("entity_f1", EntityMetric, micro(f1), "F1 of entities (seqeval)."),
    _definition("entity_precision", EntityMetric, micro(precision), "Precision of entities (seqeval)."),
    _definition("entity_recall", EntityMetric, micro(recall), "Recall of entities (seqeval)."),
    _definition("entity_macro_f1", EntityMetric, macro(f1), "F1 of entities, averaged over types."),
    _definition("token_micro_f1", TokenTypeMetric, micro(f1), "F1 of words' types, O apart."),
    _definition("token_macro_f1", TokenTypeMetric, macro(f1), "F1 of words' types, averaged over types."),
)
