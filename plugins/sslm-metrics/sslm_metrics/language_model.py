"""Perplexity, bits per token or byte and mean loss, from the losses themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from sslm_metrics.counts import ratio
from sslm_platform.api import DecomposableMetric, Metric, MetricContext, MetricDef, OutputKind, Scored

TOKENS = frozenset({OutputKind.VOCABULARY_LOGITS, OutputKind.GENERATED_TEXT})
LARGEST_EXPONENT = 700.0  # exp of more is infinite, which JSON cannot hold


class BitsPerToken(DecomposableMetric):
    """Mean loss of the target tokens in bits; 0 where there is no target."""

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return each example's nats and target tokens, (N, 2)."""
        return np.stack([scored.losses_N, scored.weights_N], axis=1).astype(np.float64)

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return nats / tokens / ln 2."""
        return ratio(totals_RK[:, 0], totals_RK[:, 1]) / np.log(2)


class Perplexity(BitsPerToken):
    """exp of the mean loss, at most e^700. Of a masked model this is a pseudo-perplexity."""

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return exp(nats / tokens)."""
        return np.exp(np.minimum(ratio(totals_RK[:, 0], totals_RK[:, 1]), LARGEST_EXPONENT))


class BitsPerByte(BitsPerToken):
    """Summed loss in bits over the bytes of the text that the targets are (UTF-8, with white space).

    Unlike perplexity it compares models with different tokenizers. What an unknown token stands for is no
    target: neither its loss nor its bytes count, which flatters a tokenizer that has many of them.
    """

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return each example's nats and bytes, (N, 2)."""
        bytes_N = np.zeros(len(scored)) if scored.bytes_N is None else scored.bytes_N
        return np.stack([scored.losses_N, bytes_N], axis=1).astype(np.float64)


class MeanLoss(BitsPerToken):
    """Mean loss of what an objective weighs, in its own unit; 0 where there is nothing."""

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return losses / weights."""
        return ratio(totals_RK[:, 0], totals_RK[:, 1])


def _build_mean_loss(options: Any, context: MetricContext) -> Metric:
    return MeanLoss()


def _build_bits(options: Any, context: MetricContext) -> Metric:
    return BitsPerToken()


def _build_bits_per_byte(options: Any, context: MetricContext) -> Metric:
    return BitsPerByte()


def _build_perplexity(options: Any, context: MetricContext) -> Metric:
    return Perplexity()


DEFINITIONS = (
    MetricDef(
        "perplexity",
        _build_perplexity,
        accepts=TOKENS,
        higher_is_better=False,
        best=1.0,
        needs_predictions=False,
        summary="exp of the mean loss of a target token.",
    ),
    MetricDef(
        "bits_per_token",
        _build_bits,
        accepts=TOKENS,
        higher_is_better=False,
        best=0.0,
        needs_predictions=False,
        summary="Mean loss of a target token in bits.",
    ),
    MetricDef(
        "bits_per_byte",
        _build_bits_per_byte,
        accepts=frozenset({OutputKind.VOCABULARY_LOGITS}),
        higher_is_better=False,
        best=0.0,
        needs_predictions=False,
        summary="Loss in bits for each byte of the target tokens' text: comparable between tokenizers.",
    ),
    MetricDef(
        "mean_loss",
        _build_mean_loss,
        accepts=frozenset({OutputKind.VECTORS}),
        higher_is_better=False,
        best=0.0,
        summary="Mean loss of the objective, say nats of telling a text from its batch.",
    ),
)
