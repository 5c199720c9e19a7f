"""BLEU and chrF of generated texts, by sacrebleu (Post 2018, "A Call for Clarity in Reporting BLEU Scores").

Both are functions of n-gram counts that add up over examples. Values are 0 to 1; sacrebleu prints 0 to 100.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

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


class BleuOptions(Options):
    """Options of ``bleu``."""

    tokenize: Literal["13a", "intl", "zh", "char", "none"] = Field(
        default="13a",
        description="sacrebleu's tokenizer: `13a` for languages with spaces, `zh` for Chinese, `none` for"
        " texts that are tokenized already.",
    )
    lowercase: bool = Field(default=False, description="Compare without regard to case.")


class ChrfOptions(Options):
    """Options of ``chrf``."""

    word_order: int = Field(default=0, ge=0, le=4, description="Longest word n-gram; 2 is chrF++.")
    lowercase: bool = Field(default=False, description="Compare without regard to case.")


class Bleu(DecomposableMetric):
    """Corpus BLEU (Papineni et al. 2002): brevity penalty times the geometric mean of 1- to 4-gram precision.

    A precision of zero is smoothed exponentially, as in ``mteval-v13a`` and sacrebleu's default.
    """

    def __init__(self, options: BleuOptions) -> None:
        from sacrebleu.metrics.bleu import BLEU

        self._bleu = BLEU(tokenize=options.tokenize, lowercase=options.lowercase)
        self._bleu.corpus_score([""], [[""]])  # the signature says how many references there were
        self.signature = str(self._bleu.get_signature())

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return two lengths, matched and all n-grams of the prediction, (N, 10)."""
        pairs = zip(scored.predictions, scored.references, strict=True)
        found = [self._bleu.corpus_score([p], [[r]]) for p, r in pairs]
        return np.array([[f.sys_len, f.ref_len, *f.counts, *f.totals] for f in found], dtype=np.float64)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return BLEU of the summed counts."""
        rows = totals_RK.astype(np.int64).tolist()
        scores = (self._bleu.compute_bleu(r[2:6], r[6:], r[0], r[1], smooth_method="exp") for r in rows)
        return np.array([score.score / 100 for score in scores])


class Chrf(DecomposableMetric):
    """chrF2 (Popović 2015, 2017): F-score of character (and word) n-grams, recall weighted twice."""

    def __init__(self, options: ChrfOptions) -> None:
        from sacrebleu.metrics.chrf import CHRF

        self._chrf = CHRF(word_order=options.word_order, lowercase=options.lowercase)
        self._chrf.corpus_score(["a"], [["a"]])
        self.signature = str(self._chrf.get_signature())

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return n-grams of prediction, of reference and of both, for each order, (N, 3 orders)."""
        # sacrebleu keeps its counts to itself
        rows = self._chrf._extract_corpus_statistics(list(scored.predictions), [list(scored.references)])
        return np.array(rows, dtype=np.float64)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return chrF of the summed counts."""
        return np.array([self._chrf._compute_f_score(row) / 100 for row in totals_RK.tolist()])


def _build_bleu(options: BleuOptions, context: MetricContext) -> Metric:
    return Bleu(options)


def _build_chrf(options: ChrfOptions, context: MetricContext) -> Metric:
    return Chrf(options)


DEFINITIONS = (
    MetricDef("bleu", _build_bleu, accepts=TEXTS, options=BleuOptions, summary="sacreBLEU of the corpus."),
    MetricDef("chrf", _build_chrf, accepts=TEXTS, options=ChrfOptions, summary="chrF2 by sacrebleu."),
)
