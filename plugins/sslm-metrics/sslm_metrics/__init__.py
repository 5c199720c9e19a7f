"""Metrics of sslm-platform. Scipy, seqeval and the like are imported when a metric is built, not here."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from sslm_metrics import classification, entities, language_model, rouge, texts, translation, values
from sslm_platform.api import MetricDef, hookimpl


@hookimpl
def sslm_metrics() -> Iterable[MetricDef]:
    """Register the built-in metrics."""
    return chain(
        classification.DEFINITIONS,
        entities.DEFINITIONS,
        values.DEFINITIONS,
        language_model.DEFINITIONS,
        translation.DEFINITIONS,
        rouge.DEFINITIONS,
        texts.DEFINITIONS,
    )
