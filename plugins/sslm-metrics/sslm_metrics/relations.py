"""Scores of relations between two spans: without the negative class, and as SemEval-2010 Task 8 has it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from sslm_metrics.counts import Counts, class_counts, f1, micro, ratio
from sslm_platform.api import (
    DecomposableMetric,
    Metric,
    MetricContext,
    MetricDef,
    Options,
    OutputKind,
    Scored,
    SpecError,
    suggest,
)

_DIRECTION = re.compile(r"\(e[12],e[12]\)$")


class RelationOptions(Options):
    """Options of ``relation_f1``."""

    negative: str = Field(default="no_relation", description="The label of pairs without a relation.")


class OfficialOptions(Options):
    """Options of ``semeval_relation_f1``."""

    negative: str = Field(default="Other", description="The label that is not averaged.")


class RelationF1(DecomposableMetric):
    """Micro F1 over all labels but the negative one, as TACRED has it (Zhang et al. 2017)."""

    def __init__(self, labels: Sequence[str], negative: str) -> None:
        self.num_classes = len(labels) + 1  # the last: gold labels that the head does not know
        self.negative = labels.index(negative)

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return right, predicted and gold relations of each example, (N, 3)."""
        rows = []
        for prediction, reference in zip(scored.predictions, scored.references, strict=True):
            gold = self.num_classes - 1 if reference < 0 else reference
            counts_3K = class_counts(prediction, gold, self.num_classes).reshape(3, -1)
            rows.append(np.delete(counts_3K, self.negative, axis=1).sum(axis=1))
        return np.stack(rows)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return 2 right / (predicted + gold)."""
        return micro(f1)(Counts.of_totals(totals_RK))


class SemevalRelationF1(DecomposableMetric):
    """The official score of SemEval-2010 Task 8 (Hendrickx et al. 2010): macro F1 with direction.

    Of a relation, in either direction, those count as right whose direction is right too; predicted and gold
    are counted without direction. The mean is over the relations that occur in the gold labels, ``negative``
    apart: the rules of the scorer, version 1.2, evaluation (iii).
    """

    def __init__(self, labels: Sequence[str], negative: str) -> None:
        relations = [_DIRECTION.sub("", label) for label in labels]
        self.names = sorted({name for name in relations if name != negative})
        index = {name: i for i, name in enumerate(self.names)}
        none = len(self.names)  # of the negative label, and of gold labels that the head does not know
        self.relation = np.array([*(index.get(name, none) for name in relations), none])

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return right, predicted and gold examples of each relation, (N, 3 num_relations)."""
        statistics_N3K = np.zeros((len(scored), 3, len(self.names) + 1))
        for counts_3K, prediction, reference in zip(
            statistics_N3K, scored.predictions, scored.references, strict=True
        ):
            counts_3K[0, self.relation[prediction]] = prediction == reference
            counts_3K[1, self.relation[prediction]] = 1.0
            counts_3K[2, self.relation[reference]] = 1.0
        return statistics_N3K[:, :, :-1].reshape(len(scored), -1)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Average F1 over the relations that are gold somewhere."""
        counts = Counts.of_totals(totals_RK)
        occurs_RK = counts.gold > 0
        return ratio((f1(counts) * occurs_RK).sum(axis=1), occurs_RK.sum(axis=1, dtype=np.float64))


def _build_relation(options: RelationOptions, context: MetricContext) -> Metric:
    _check_negative("relation_f1", options.negative, context)
    return RelationF1(context.labels, options.negative)


def _build_official(options: OfficialOptions, context: MetricContext) -> Metric:
    _check_negative("semeval_relation_f1", options.negative, context)
    return SemevalRelationF1(context.labels, options.negative)


def _check_negative(metric: str, negative: str, context: MetricContext) -> None:
    if negative not in context.labels:
        known = suggest(negative, context.labels)
        raise SpecError(f"metric {metric!r}: options.negative: no label {negative!r}{known}")


DEFINITIONS = (
    MetricDef(
        "relation_f1",
        _build_relation,
        accepts=frozenset({OutputKind.SEQUENCE_LOGITS}),
        options=RelationOptions,
        summary="Micro F1 of relations, the negative label apart.",
    ),
    MetricDef(
        "semeval_relation_f1",
        _build_official,
        accepts=frozenset({OutputKind.SEQUENCE_LOGITS}),
        options=OfficialOptions,
        summary="SemEval-2010 Task 8's official macro F1: direction counts, Other does not.",
    ),
)
