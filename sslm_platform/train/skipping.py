"""Steps with a loss or gradient that is not finite: they change nothing; after some in a row a run stops."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sslm_platform.errors import Problem, RunError
from sslm_platform.schedule.progress import Progress
from sslm_platform.steps import StepRecord


def not_finite(losses: Mapping[str, float], norms: Mapping[str, float]) -> tuple[str, ...]:
    """Return the tasks whose loss is not finite, or else the parts whose gradient is not.

    A loss that is not finite spoils the gradients of all that it reaches; these say no more than it does.
    """
    return tuple(_wrong(losses) or _wrong(norms))


def _wrong(values: Mapping[str, float]) -> list[str]:
    return [name for name, value in values.items() if not math.isfinite(value)]


def has_diverged(progress: Progress, limit: int) -> bool:
    """Whether ``limit`` steps in a row were skipped."""
    return progress.skipped_in_a_row >= limit


def check_diverged(record: StepRecord, progress: Progress, limit: int) -> None:
    """Raise when ``limit`` steps in a row were skipped.

    Raises:
        RunError: names what was not finite in the last one.
    """
    if has_diverged(progress, limit):
        kind = "loss" if record.skipped_for[0] in record.losses else "gradient"
        raise RunError(
            Problem(
                f"{record.phase}: step {record.step}",
                f"{progress.skipped_in_a_row} steps in a row were skipped, since the {kind} of"
                f" {', '.join(record.skipped_for)} was not finite: training has diverged; try a smaller"
                " optimizer.lr, a longer optimizer.warmup or engine.precision: fp32, or raise"
                " optimizer.max_skipped",
            )
        )
