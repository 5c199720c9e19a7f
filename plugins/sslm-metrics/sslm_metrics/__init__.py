"""Metrics of sslm-platform. Scipy and seqeval are imported when a metric is built, not here."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from sslm_metrics import classification, entities, language_model, ordinal, probabilities, values
from sslm_platform.api import MetricDef, hookimpl


@hookimpl
def sslm_metrics() -> Iterable[MetricDef]:
    """Register the built-in metrics."""
    return chain(
        classification.DEFINITIONS,
        probabilities.DEFINITIONS,
        ordinal.DEFINITIONS,
        entities.DEFINITIONS,
        values.DEFINITIONS,
        language_model.DEFINITIONS,
    )
