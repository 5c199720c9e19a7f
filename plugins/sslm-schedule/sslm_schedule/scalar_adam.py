"""Adam on one number for each task, kept as JSON content; without torch, so that `sslm check` stays quick."""

from __future__ import annotations

import math
from collections.abc import Mapping

BETA_1, BETA_2, EPS = 0.9, 0.999, 1e-8

Scalar = Mapping[str, float]
"""``value``, its moments ``mean`` and ``square``, and the number of ``updates``."""

START: Scalar = {"value": 0.0, "mean": 0.0, "square": 0.0, "updates": 0}


def adam_update(scalar: Scalar, gradient: float, rate: float) -> Scalar:
    """Return a number after one step against its gradient (Kingma & Ba 2015, algorithm 1)."""
    updates = int(scalar["updates"]) + 1
    mean = BETA_1 * scalar["mean"] + (1.0 - BETA_1) * gradient
    square = BETA_2 * scalar["square"] + (1.0 - BETA_2) * gradient * gradient
    corrected = math.sqrt(square / (1.0 - BETA_2**updates)) + EPS
    value = scalar["value"] - rate * (mean / (1.0 - BETA_1**updates)) / corrected
    return {"value": value, "mean": mean, "square": square, "updates": updates}
