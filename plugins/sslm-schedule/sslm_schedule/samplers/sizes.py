"""Shares of the feeds from their sizes: p ~ min(n, K)^exponent."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sslm_platform.api import Options, SamplingState

FIRST_EXPONENT, LAST_EXPONENT = 1.0, 0.2


class CapOptions(Options):
    """Options of ``proportional``."""

    cap: int | None = Field(
        default=None, ge=1, description="A feed counts as at most this many examples; default: no limit."
    )


class TemperatureOptions(CapOptions):
    """Options of ``temperature``."""

    temperature: float = Field(
        default=2.0, gt=0.0, description="1 is proportional; the higher, the nearer to uniform."
    )


class AnnealedOptions(Options):
    """Options of ``annealed``."""

    epochs: int = Field(
        default=25,
        ge=2,
        description="Parts of equal length of the training, E; the exponent falls from one to the next.",
    )


class Uniform:
    """p = 1 / number of feeds."""

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return equal shares, (number of feeds,)."""
        return np.full(len(state.feeds), 1.0 / len(state.feeds))


class Proportional:
    """p ~ min(n, K): every example as often, up to K of a feed.

    "Examples-proportional mixing" with an artificial limit (Raffel et al. 2020, "Exploring the limits of
    transfer learning", section 3.5.2).
    """

    def __init__(self, options: CapOptions) -> None:
        self.cap = options.cap

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return shares by size, (number of feeds,)."""
        return power_shares(state.sizes, 1.0, self.cap)


class Temperature:
    """p ~ min(n, K)^(1/T).

    Arivazhagan et al. 2019, "Massively multilingual NMT in the wild", section 4; with the limit K: Raffel et
    al. 2020, section 3.5.2, "temperature-scaled mixing".
    """

    def __init__(self, options: TemperatureOptions) -> None:
        self.exponent = 1.0 / options.temperature
        self.cap = options.cap

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return flattened shares, (number of feeds,)."""
        return power_shares(state.sizes, self.exponent, self.cap)


class Annealed:
    """p ~ n^alpha with alpha = 1 - 0.8 (e - 1) / (E - 1) in epoch e = 1..E.

    From proportional towards uniform, so that small tasks are not overfitted early and not forgotten late
    (Stickland & Murray 2019, "BERT and PALs", equation 8). Their epochs have a fixed number of steps; here an
    epoch is a part 1/E of the training, whatever its length.
    """

    def __init__(self, options: AnnealedOptions) -> None:
        self.epochs = options.epochs

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return the epoch's shares, (number of feeds,)."""
        epoch = 1 + min(state.step * self.epochs // state.num_steps, self.epochs - 1)
        fall = (FIRST_EXPONENT - LAST_EXPONENT) * (epoch - 1) / (self.epochs - 1)
        return power_shares(state.sizes, FIRST_EXPONENT - fall)


def power_shares(sizes: tuple[int, ...], exponent: float, cap: int | None = None) -> np.ndarray:
    """Return min(n, cap)^exponent, scaled to sum to 1, (number of feeds,)."""
    sizes_F = np.minimum(np.asarray(sizes, dtype=np.float64), np.inf if cap is None else cap)
    power_F = (sizes_F / sizes_F.max()) ** exponent  # a low temperature would overflow without the division
    return power_F / power_F.sum()
