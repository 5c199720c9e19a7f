"""Exact match and F1 of answers, by the rules of SQuAD (Rajpurkar et al. 2016; 2018 for "no answer")."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from sslm_metrics.counts import ratio
from sslm_platform.api import DecomposableMetric, Metric, MetricContext, MetricDef, OutputKind, Scored

SPANS = frozenset({OutputKind.SPAN_LOGITS})

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

Compare = Callable[[str, str], float]


def normalize(text: str) -> str:
    """Lower-case, and leave out ASCII punctuation, English articles and extra spaces, in this order."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(predicted: str, gold: str) -> float:
    """Whether two texts are the same when normalized."""
    return float(normalize(predicted) == normalize(gold))


def token_f1(predicted: str, gold: str) -> float:
    """Return F1 of the normalized words; where one of them has none, whether both have none."""
    words, gold_words = normalize(predicted).split(), normalize(gold).split()
    if not words or not gold_words:
        return float(words == gold_words)
    common = sum((Counter(words) & Counter(gold_words)).values())
    return 2 * common / (len(words) + len(gold_words))


class AnswerMetric(DecomposableMetric):
    """The mean of the best comparison with an answer of each example; where it has none, with no text."""

    def __init__(self, compare: Compare) -> None:
        self.compare = compare

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return each example's comparison and 1, (N, 2)."""
        pairs = zip(scored.predictions, scored.references, strict=True)
        return np.array([[self._of(span, reference), 1.0] for span, reference in pairs])

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return ratio(totals_RK[:, 0], totals_RK[:, 1])

    def _of(self, span: np.ndarray, reference: Mapping[str, Any]) -> float:
        start, end = (int(place) for place in span)
        predicted = reference["context"][start:end] if start >= 0 else ""
        # the official script scores answers that are nothing but articles as if there were none
        answers = [one["text"] for one in reference["answers"] if normalize(one["text"])] or [""]
        return max(self.compare(predicted, answer) for answer in answers)


def _build(compare: Compare, options: Any, context: MetricContext) -> Metric:
    return AnswerMetric(compare)


DEFINITIONS = (
    MetricDef(
        "answer_f1",
        partial(_build, token_f1),
        accepts=SPANS,
        summary="Mean F1 of the words of answers, as SQuAD has it.",
    ),
    MetricDef(
        "answer_exact_match",
        partial(_build, exact_match),
        accepts=SPANS,
        summary="Share of answers that are the same text, as SQuAD has it.",
    ),
)
