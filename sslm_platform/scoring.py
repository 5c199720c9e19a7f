"""Metrics of a task on what was predicted: values, intervals by bootstrap, and what choices on dev go by."""

from __future__ import annotations

import zlib

import numpy as np

from sslm_platform.interfaces import DetailedMetric, Metric, Scored
from sslm_platform.report.records import MetricValue
from sslm_platform.spec.resolved import Task
from sslm_platform.statistics import NUM_RESAMPLES, percentile_interval, resample_counts
from sslm_platform.types import MetricContext


def build_metrics(task: Task, labels: tuple[str, ...]) -> dict[str, Metric]:
    """Build a task's metrics."""
    context = MetricContext(task.head.definition.emits, labels)
    return {name: bound.build(context) for name, bound in task.metrics.items()}


def score_metrics(task: Task, scored: Scored, labels: tuple[str, ...]) -> dict[str, float]:
    """Return each of the task's metrics."""
    return {name: float(m.score(scored)) for name, m in build_metrics(task, labels).items()}


def score_details(
    task: Task, scored: Scored, labels: tuple[str, ...]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return what the task's metrics say of each class; equal tables are kept once."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, metric in build_metrics(task, labels).items():
        if isinstance(metric, DetailedMetric):
            table = {key: dict(values) for key, values in metric.details(scored).items()}
            if table not in found.values():
                found[name] = table
    return found


def goodness(task: Task, scored: Scored, labels: tuple[str, ...]) -> float:
    """Return the primary metric with the sign that makes higher better: what choices on dev go by."""
    value = score_metrics(task, scored, labels)[task.primary_name]
    return value if task.primary.definition.higher_is_better else -value


def score_intervals(
    task: Task, scored: Scored, labels: tuple[str, ...]
) -> tuple[dict[str, MetricValue], tuple[float, ...]]:
    """Return each metric with its 95 % bootstrap interval, and the primary metric's resamples.

    The resamples' multiplicities depend on the stream and the number of examples only: two models' resamples
    of one task are paired, and so are those of two tasks on the same texts. Metrics of losses alone are left
    out where no loss was measured, as of answers that no model gave.
    """
    counts_RN = resample_counts(len(scored), NUM_RESAMPLES, zlib.crc32(task.stream.name.encode()))
    values, primary = {}, np.empty(0)
    for name, metric in build_metrics(task, labels).items():
        if not scored.weights_N.any() and not task.metrics[name].definition.needs_predictions:
            continue
        resamples_R = metric.resample(scored, counts_RN)
        low, high = percentile_interval(resamples_R)
        values[name] = MetricValue(value=float(metric.score(scored)), low=low, high=high)
        if name == task.primary_name:
            primary = resamples_R
    return values, tuple(float(f"{value:.7g}") for value in primary)


def normalized_gain(task: Task, score: float, baseline: float) -> float:
    """Return the share of the way from a baseline's score to a perfect one; 1 is perfect, 0 the baseline."""
    best = task.primary.definition.best
    return (score - baseline) / (best - baseline) if best != baseline else 0.0
