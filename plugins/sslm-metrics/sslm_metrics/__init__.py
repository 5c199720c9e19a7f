"""Metrics of sslm-platform. Scipy, seqeval and the like are imported when a metric is built, not here."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from sslm_metrics import (
    answers,
    classification,
    entities,
    language_model,
    ordinal,
    probabilities,
    ranking,
    relations,
    rouge,
    texts,
    translation,
    values,
)
from sslm_platform.api import MetricDef, hookimpl


@hookimpl
def sslm_metrics() -> Iterable[MetricDef]:
    """Register the built-in metrics."""
    modules = (
        classification,
        probabilities,
        ordinal,
        relations,
        ranking,
        answers,
        entities,
        values,
        language_model,
        translation,
        rouge,
        texts,
    )
    return chain.from_iterable(module.DEFINITIONS for module in modules)
