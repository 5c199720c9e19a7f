"""Samplers: shares of the feeds from their sizes."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sslm_platform.api import Options, SamplingState


class TemperatureOptions(Options):
    """Options of ``temperature``."""

    temperature: float = Field(
        default=2.0, gt=0.0, description="1 is proportional; the higher, the nearer to uniform."
    )


class Uniform:
    """p = 1 / number of feeds."""

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return equal shares, (number of feeds,)."""
        return np.full(len(state.feeds), 1.0 / len(state.feeds))


class Proportional:
    """p ~ n: every example as often."""

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return shares by size, (number of feeds,)."""
        return _power_shares(state.sizes, 1.0)


class Temperature:
    """p ~ n^(1/T) (Arivazhagan et al. 2019, "Massively multilingual NMT in the wild", section 4)."""

    def __init__(self, options: TemperatureOptions) -> None:
        self.exponent = 1.0 / options.temperature

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return flattened shares, (number of feeds,)."""
        return _power_shares(state.sizes, self.exponent)


def _power_shares(sizes: tuple[int, ...], exponent: float) -> np.ndarray:
    sizes_F = np.asarray(sizes, dtype=np.float64)
    power_F = (sizes_F / sizes_F.max()) ** exponent  # a low temperature would overflow without the division
    return power_F / power_F.sum()
