"""Many tests at once: which of them are discoveries, and what could have been discovered.

Shape suffixes: M tests.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from sslm_platform.statistics.reference import Errors

FALSE_DISCOVERY_RATE = 0.05
POWER = 0.8


def adjusted(p_M: Sequence[float], groups_M: Sequence[Hashable]) -> list[float]:
    """Return q-values: a test with ``q <= alpha`` is a discovery at the false discovery rate ``alpha``.

    They are the Benjamini-Hochberg adjusted p-values (*Journal of the Royal Statistical Society B* 57, 1995)
    over all tests, or over the test's own group where that is larger. Over all tests, nothing is found in
    ``1 - alpha`` of the families in which there is nothing to find. Over a group, tests that can hardly fail
    (training on the target helps) do not lower the bar for the others (Efron, *Simultaneous inference: when
    should hypothesis testing problems be combined?*, Annals of Applied Statistics 2, 2008).
    """
    p = np.asarray(p_M, dtype=np.float64)
    q_M = _benjamini_hochberg(p)
    for group in set(groups_M):
        members_M = np.array([other == group for other in groups_M])
        q_M[members_M] = np.maximum(q_M[members_M], _benjamini_hochberg(p[members_M]))
    return [float(q) for q in q_M]


def _benjamini_hochberg(p_M: np.ndarray) -> np.ndarray:
    """Return what scipy.stats.false_discovery_control does, which takes most of a second to import."""
    order_M = np.argsort(p_M)[::-1]
    scaled_M = p_M[order_M] * len(p_M) / np.arange(len(p_M), 0, -1)
    q_M = np.empty_like(p_M)
    q_M[order_M] = np.minimum(np.minimum.accumulate(scaled_M), 1.0)
    return q_M


def detectable(errors: Sequence[Errors], num_tests: int) -> float:
    """Return the true mean that is a discovery among ``num_tests`` tests with probability :data:`POWER`.

    The least favourable case of Benjamini-Hochberg is a single effect among M tests, which must have
    ``p <= alpha / M``; with more effects the bar is lower. Let q be the error of that p-value in another
    experiment like this one, and q' what it is by the errors at hand. A true mean of ``c q'`` is found where
    ``c q' + e > q`` with e the experiment's own error. Errors are estimates: q varies with a relative
    variance v, q' with v' = v / K. Taken as normal, they give c by

        (c m' - m)^2 = z^2 (1 / t^2 + v + c^2 v'),    m^2 = 1 - v,    m'^2 = 1 - v',

    where t is q in standard errors and z the normal quantile of the power. Without v, ``c q'`` is the
    textbook's ``t + z`` standard errors. v is that of a standard error with df degrees of freedom,
    ``1 - E[sqrt(chi2 / df)]^2``, averaged over seeds and examples by their share in q.

    Args:
        errors: of K means that are about equally well known; their mean squares are used.
        num_tests: M.
    """
    from scipy.special import ndtri

    typical = _typical(errors)
    if not typical.standard_error:
        return 0.0
    level = FALSE_DISCOVERY_RATE / num_tests
    q, share = typical.quantile(level), typical.share_of_seeds(level)
    of_seeds, of_examples = _relative_variance(typical.df_seeds), _relative_variance(typical.df_examples)
    v = share * of_seeds + (1 - share) * of_examples
    m2, known_v = 1 - v, v / len(errors)
    known_m2, z2 = 1 - known_v, float(ndtri(POWER)) ** 2
    leading = known_m2 - z2 * known_v  # positive from one degree of freedom on
    constant = m2 - z2 * ((typical.standard_error / q) ** 2 + v)
    return q * (math.sqrt(m2 * known_m2) + math.sqrt(m2 * known_m2 - leading * constant)) / leading


def _typical(errors: Sequence[Errors]) -> Errors:
    seeds = math.sqrt(np.mean([each.seeds**2 for each in errors]))
    examples = math.sqrt(np.mean([each.examples**2 for each in errors]))
    df_seeds, df_examples = (
        min(df) for df in zip(*((e.df_seeds, e.df_examples) for e in errors), strict=True)
    )
    return Errors(seeds, df_seeds, examples, df_examples)


def _relative_variance(df: float) -> float:
    """Return ``1 - E[X]^2`` of a standard error's estimate X, which has ``E[X^2] = 1``."""
    from scipy.special import gammaln

    return 1 - 2 / df * math.exp(2 * float(gammaln((df + 1) / 2) - gammaln(df / 2)))
