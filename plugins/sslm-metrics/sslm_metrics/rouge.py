"""ROUGE of generated texts (Lin 2004), by Google's ``rouge_score``; of characters for Chinese."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field

from sslm_metrics.counts import ratio
from sslm_platform.api import (
    DataError,
    DecomposableMetric,
    Metric,
    MetricContext,
    MetricDef,
    Options,
    OutputKind,
    Problem,
    Scored,
)


class RougeOptions(Options):
    """Options of ``rouge1``, ``rouge2`` and ``rougeL``."""

    unit: Literal["words", "characters"] = Field(
        default="words",
        description="What is counted: words of a-z and 0-9, or all characters but spaces (Chinese).",
    )
    stem: bool = Field(default=True, description="Compare English words without their endings (Porter).")


class Characters:
    """``rouge_score``'s interface of a tokenizer, for writing without spaces between words."""

    def tokenize(self, text: str) -> list[str]:
        """Return all characters but spaces, in lower case."""
        return [character for character in text.lower() if not character.isspace()]


class Rouge(DecomposableMetric):
    """Mean F1 of an example's n-grams (``rouge1``, ``rouge2``) or longest common subsequence (``rougeL``)."""

    def __init__(self, name: str, options: RougeOptions) -> None:
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer

        tokenizers = {"words": lambda: DefaultTokenizer(options.stem), "characters": Characters}
        self._name = name
        self._tokenizer: Any = tokenizers[options.unit]()
        self._scorer = RougeScorer([name], tokenizer=self._tokenizer)
        stem = "yes" if options.stem and options.unit == "words" else "no"
        self.signature = f"unit:{options.unit}|stem:{stem}|rouge_score"

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return each example's F1 and 1, (N, 2).

        Raises:
            DataError: no reference has a word, as where Chinese is cut into words of a-z.
        """
        if not any(self._tokenizer.tokenize(reference) for reference in scored.references):
            raise DataError(
                Problem(self._name, "no reference has a word of a-z and 0-9: set options.unit to characters")
            )
        pairs = zip(scored.predictions, scored.references, strict=True)
        return np.array([[self._scorer.score(r, p)[self._name].fmeasure, 1.0] for p, r in pairs])

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return the mean."""
        return ratio(totals_RK[:, 0], totals_RK[:, 1])


def _build(name: str, options: RougeOptions, context: MetricContext) -> Metric:
    return Rouge(name, options)


def _definition(name: str, summary: str) -> MetricDef:
    kinds = frozenset({OutputKind.GENERATED_TEXT})
    return MetricDef(name, partial(_build, name), accepts=kinds, options=RougeOptions, summary=summary)


DEFINITIONS = (
    _definition("rouge1", "F1 of words (or characters), averaged over examples."),
    _definition("rouge2", "F1 of pairs of words, averaged over examples."),
    _definition("rougeL", "F1 of the longest common subsequence, averaged over examples."),
)
