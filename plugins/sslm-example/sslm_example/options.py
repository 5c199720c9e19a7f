"""Options: what a spec may write under ``options``, checked before anything is loaded."""

from __future__ import annotations

from pydantic import Field, model_validator

from sslm_platform.api import Options


class HuberOptions(Options):
    """Options of ``huber``."""

    delta: float = Field(default=1.0, gt=0.0, description="Errors beyond this count linearly.")


class BoundedOptions(Options):
    """Options of ``bounded_regressor``."""

    low: float = Field(description="Lower end of the scale.")
    high: float = Field(description="Upper end of the scale.")

    @model_validator(mode="after")
    def _ordered(self) -> BoundedOptions:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self
