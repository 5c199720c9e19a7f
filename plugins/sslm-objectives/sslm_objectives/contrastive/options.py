"""Options of the objectives that compare texts."""

from __future__ import annotations

from pydantic import Field

from sslm_platform.api import Options


class SimcseOptions(Options):
    """Options of ``simcse``."""

    temperature: float = Field(default=0.05, gt=0.0, description="What cosines are divided by.")


class MultipleNegativesOptions(SimcseOptions):
    """Options of ``multiple_negatives``."""


class CpcOptions(Options):
    """Options of ``cpc``."""

    segment_tokens: int = Field(
        default=12, ge=2, description="Tokens of a segment, at least: a text is cut into as many as fit."
    )
    steps_ahead: int = Field(default=3, ge=1, description="Segments ahead that are predicted, at most.")


class FutureOptions(CpcOptions):
    """Options of ``future_regression``."""

    steps_ahead: int = Field(default=1, ge=1, description="Segments ahead that are predicted, at most.")
    variance_weight: float = Field(
        default=1.0, ge=0.0, description="Weight of what keeps the states from becoming all alike."
    )
    covariance_weight: float = Field(
        default=0.04,
        ge=0.0,
        description="Weight of what keeps their dimensions from saying the same (VICReg).",
    )
