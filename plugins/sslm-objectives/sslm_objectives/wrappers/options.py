"""Options of the wrappers. Radii are of one example's embeddings, in their own unit."""

from __future__ import annotations

from pydantic import Field

from sslm_platform.api import Options


class FgmOptions(Options):
    """Options of ``fgm``."""

    epsilon: float = Field(default=1.0, gt=0.0, description="L2 norm of an example's shift.")


class PgdOptions(Options):
    """Options of ``pgd``."""

    epsilon: float = Field(default=1.0, gt=0.0, description="Largest L2 norm of an example's shift.")
    step_size: float = Field(default=0.3, gt=0.0, description="L2 norm of each step.")
    steps: int = Field(default=3, ge=1, description="Steps up the loss, one pass each.")


class FreelbOptions(Options):
    """Options of ``freelb``."""

    epsilon: float = Field(default=1.0, gt=0.0, description="Largest L2 norm of an example's shift.")
    step_size: float = Field(default=0.3, gt=0.0, description="L2 norm of each step.")
    steps: int = Field(default=3, ge=1, description="Passes; the shift takes a step between two of them.")


class SmartOptions(Options):
    """Options of ``smart``."""

    weight: float = Field(default=1.0, gt=0.0, description="Weight of the disagreement.")
    epsilon: float = Field(default=0.01, gt=0.0, description="Largest shift of a coordinate.")
    step_size: float = Field(default=0.01, gt=0.0, description="Largest coordinate of each step.")
    noise: float = Field(default=1e-3, gt=0.0, description="Standard deviation of the first shift.")
    steps: int = Field(default=1, ge=1, description="Steps up the disagreement, one pass each.")


class RDropOptions(Options):
    """Options of ``r_drop``."""

    weight: float = Field(default=1.0, gt=0.0, description="Weight of the two passes' divergence.")
