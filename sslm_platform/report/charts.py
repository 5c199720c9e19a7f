"""Training curves as plain data; the page's script draws them with plotly in the page's own style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sslm_platform.report.colors import DASHES, SERIES
from sslm_platform.report.curves import Curves, Line
from sslm_platform.report.records import TaskScore

Trace = dict[str, Any]
Panel = dict[str, Any]

WINDOWS_PER_CURVE = 20
MARKERS = {"markers": True}
SELECTION = "what select_by names (last: the mean gain)"


def training_panels(curves: Curves, scores: Sequence[TaskScore]) -> list[Panel]:
    """Return the panels that have something to show: losses, dev scores, learning rate, speed.

    ``scores`` say which metric of a task is the primary one, and what its best value is.
    """
    panels = [_losses(curves), _dev_scores(curves, scores), _learning_rate(curves), _speed(curves)]
    return [panel for panel in panels if panel["traces"]]


def trailing_mean(values: Sequence[float], window: int) -> list[float]:
    """Average each value with up to ``window - 1`` before it."""
    return [
        sum(values[max(0, end - window) : end]) / (end - max(0, end - window))
        for end in range(1, len(values) + 1)
    ]


def _losses(curves: Curves) -> Panel:
    traces = []
    for index, task in enumerate(curves.tasks):
        found = [(line["step"], line["losses"].get(task, math.nan)) for line in curves.steps]
        points = [(step, loss) for step, loss in found if math.isfinite(loss)]  # a skipped step has none
        if not points:
            continue
        steps, losses = zip(*points, strict=True)
        smooth = trailing_mean(losses, max(1, len(losses) // WINDOWS_PER_CURVE))
        traces.append(_trace(task, steps, smooth, index))
    levels = [value for trace in traces for value in trace["y"]]
    is_log = bool(levels) and min(levels) > 0 and max(levels) > 8 * min(levels)
    return _panel(
        "loss", "Loss per task", "training loss, nats" + (", log scale" if is_log else ""), traces, is_log
    )


def _dev_scores(curves: Curves, scores: Sequence[TaskScore]) -> Panel:
    """Put tasks of different metrics on one axis: shares of the way from majority to perfect."""
    order = {task: index for index, task in enumerate(curves.tasks)}
    traces = []
    for score in sorted(scores, key=lambda score: score.task):
        points = [
            (line["step"], share) for line in curves.evaluations if (share := _share(line, score)) is not None
        ]
        if points:
            steps, shares = zip(*points, strict=True)
            traces.append(_trace(score.task, steps, shares, order.get(score.task, len(order))) | MARKERS)
    kept = [(line["step"], line["selection"]) for line in curves.evaluations if "selection" in line]
    if kept:
        steps, selection = zip(*kept, strict=True)
        traces.append(_trace(SELECTION, steps, selection, 0) | MARKERS | {"color": "", "dash": "solid"})
    unit = "primary metric, dev; 0 is the constant predictor, 1 perfect"
    return _panel("dev", "Dev scores, normalised", unit, traces)


def _share(line: Line, score: TaskScore) -> float | None:
    value, floor = (_value(line.get(key, {}), score) for key in ("scores", "majority"))
    if value is None or floor is None or floor == score.best:
        return None
    return (value - floor) / (score.best - floor)


def _value(by_task: Mapping[str, Mapping[str, float]], score: TaskScore) -> float | None:
    return by_task.get(score.task, {}).get(score.metric)


def _learning_rate(curves: Curves) -> Panel:
    steps = [line["step"] for line in curves.steps]
    rates = [line["learning_rate"] for line in curves.steps]
    traces = [_trace("learning rate", steps, rates, 0)] if steps else []
    return _panel("rate", "Learning rate", "encoder", traces) | {"format": ".1e"}


def _speed(curves: Curves) -> Panel:
    timed = [line for line in curves.steps if line["seconds"] > 0]
    steps = [line["step"] for line in timed]
    window = max(1, len(timed) // WINDOWS_PER_CURVE)
    traces = [
        _trace(label, steps, trailing_mean([line[key] / line["seconds"] for line in timed], window), index)
        for index, (label, key) in enumerate((("real", "num_tokens"), ("with padding", "num_padded_tokens")))
    ]
    return _panel("speed", "Speed", "tokens per second", traces if timed else [])


def _trace(name: str, x: Sequence[float], y: Sequence[float], index: int) -> Trace:
    color, dash = SERIES[index % len(SERIES)], DASHES[index // len(SERIES) % len(DASHES)]
    return {"name": name, "x": list(x), "y": list(y), "color": color, "dash": dash}


def _panel(id_: str, title: str, unit: str, traces: list[Trace], is_log: bool = False) -> Panel:
    return {"id": f"chart-{id_}", "title": title, "unit": unit, "traces": traces, "log": is_log, "format": ""}
