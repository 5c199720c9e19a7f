"""The sum of two estimated errors: what a mean's deviation from the truth is compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# x = sinh(v) on an even grid of v: dense where t densities are high, and beyond 1000 standard errors. The
# trapezoidal rule is exact to 1e-9 on it.
GRID = np.linspace(-8, 8, 257)


@dataclass(frozen=True, slots=True)
class Errors:
    """The distribution of ``seeds * T + examples * T'``, T and T' independent Student t variables.

    Two standard errors, each an estimate with degrees of freedom of its own, add up to the Behrens-Fisher
    distribution (Fisher, *The fiducial argument in statistical inference*, 1935). Its tests are slightly
    conservative everywhere (Robinson, *Properties of the Behrens-Fisher test*, Annals of Statistics 4, 1976).
    The usual approximation, one t variable with Satterthwaite's degrees of freedom, is not: it takes the
    degrees of freedom from the same estimate as the standard error, and with five seeds p <= 3e-3 happens up
    to three times too often, p <= 2e-4 up to ten times, which a correction for many tests cannot bear.

    Attributes:
        seeds: standard error from seeds, >= 0.
        df_seeds: its degrees of freedom.
        examples: standard error from test examples, >= 0.
        df_examples: its degrees of freedom.
    """

    seeds: float
    df_seeds: float
    examples: float
    df_examples: float

    @property
    def standard_error(self) -> float:
        """Of the sum."""
        return math.hypot(self.seeds, self.examples)

    def share_of_seeds(self, p: float) -> float:
        """Return about what share of a quantile's relative change comes with a change of ``seeds``, 0..1."""
        squares = [
            (q * error) ** 2 for q, error in zip(self._single(p), (self.seeds, self.examples), strict=True)
        ]
        return squares[0] / sum(squares)

    def p(self, value: float) -> float:
        """Return the probability of an error of at least ``abs(value)``, in either direction."""
        from scipy.special import stdtr

        (small, df_small), (large, df_large) = sorted(
            [(self.seeds, self.df_seeds), (self.examples, self.df_examples)]
        )
        if not large:
            return 0.0 if value else 1.0
        if not small:
            return float(2 * stdtr(df_large, -abs(value) / large))
        # Over the smaller error, so that the integrand changes slowly on the grid.
        tails = stdtr(df_large, (small * np.sinh(GRID) - abs(value)) / large)
        return min(1.0, float(2 * _weights(df_small) @ tails))  # rounding can exceed 1, which scipy refuses

    def quantile(self, p: float) -> float:
        """Return the error that is exceeded, in either direction, with probability ``p``."""
        t_seeds, t_examples = self._single(p)
        if not self.seeds or not self.examples:
            return t_seeds * self.seeds + t_examples * self.examples
        from scipy.optimize import brentq  # half a second to import, which one seed need not wait for

        low = 0.0
        high = t_seeds * self.seeds + t_examples * self.examples
        while self.p(high) > p:
            low, high = high, 2 * high
        return float(brentq(lambda value: self.p(value) - p, low, high, xtol=1e-6 * high))

    def _single(self, p: float) -> tuple[float, float]:
        from scipy.special import stdtrit

        return float(stdtrit(self.df_seeds, 1 - p / 2)), float(stdtrit(self.df_examples, 1 - p / 2))


@lru_cache(maxsize=256)
def _weights(df: float) -> np.ndarray:
    """Return the probability of each grid point under a t distribution; they sum to 1."""
    density = (1 + np.sinh(GRID) ** 2 / df) ** (-(df + 1) / 2) * np.cosh(GRID)
    return density / density.sum()
