"""The Behrens-Fisher distribution against quadrature and against its own simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from sslm_platform.statistics import Errors


def tail(errors: Errors, value: float) -> float:
    """Return P(|seeds T + examples T'| > value) by adaptive quadrature over T."""

    def inner(t: float) -> float:
        rest = (value - errors.seeds * t) / errors.examples
        return float(stats.t.pdf(t, errors.df_seeds) * stats.t.sf(rest, errors.df_examples))

    cut = value / errors.seeds
    pieces = [(-np.inf, -cut), (-cut, 0), (0, cut), (cut, np.inf)]
    return 2 * sum(integrate.quad(inner, *piece, epsabs=1e-14, limit=300)[0] for piece in pieces)


@pytest.mark.parametrize(
    "errors", [Errors(1, 4, 0.5, 300), Errors(0.3, 4, 1, 300), Errors(1, 9, 0.02, 50), Errors(1, 4, 1, 7)]
)
@pytest.mark.parametrize("value", [0.0, 0.5, 2.0, 6.0])
def test_p_is_the_integral_over_both_errors(errors: Errors, value: float):
    if not value:
        assert errors.p(value) == pytest.approx(1)
    else:
        assert errors.p(value) == pytest.approx(tail(errors, value), rel=1e-6)
        assert errors.p(-value) == errors.p(value)


def test_one_error_alone_is_students():
    for errors in (Errors(2, 4, 0, 100), Errors(0, 100, 2, 4)):
        assert errors.p(3) == pytest.approx(2 * stats.t.sf(1.5, 4))
        assert errors.quantile(0.05) == pytest.approx(2 * stats.t.ppf(0.975, 4))
    nearly = Errors(1e-9, 4, 2, 4)
    assert nearly.quantile(0.001) == pytest.approx(2 * stats.t.ppf(0.9995, 4), rel=1e-6)


def test_no_error_decides_every_difference():
    errors = Errors(0, 4, 0, 100)
    assert (errors.p(0.0), errors.p(0.1), errors.p(-0.1)) == (1, 0, 0)
    assert errors.quantile(0.05) == 0


@pytest.mark.parametrize("p", [0.5, 0.05, 1e-5])
def test_quantile_inverts_p(p: float):
    errors = Errors(0.01, 4, 0.02, 199)
    assert errors.p(errors.quantile(p)) == pytest.approx(p, rel=1e-4)


def satterthwaite(errors: Errors, value: float) -> float:
    spread = errors.seeds**4 / errors.df_seeds + errors.examples**4 / errors.df_examples
    df = errors.standard_error**4 / spread
    return float(2 * stats.t.sf(abs(value) / errors.standard_error, df))


def test_small_p_values_are_not_too_frequent_and_satterthwaites_are():
    """Why p-values are not those of one t variable: a correction for many tests needs the far tail."""
    rng, num, level = np.random.default_rng(0), 20_000, 0.05 / 64
    values = rng.normal(size=num)
    seeds = np.sqrt(0.85 * rng.chisquare(4, num) / 4)
    # Only large values can have small p-values; the others need not be computed.
    far = [(v, Errors(s, 4, np.sqrt(0.15), 400)) for v, s in zip(values, seeds, strict=True) if abs(v) > 1]
    ours = sum(errors.p(value) <= level for value, errors in far) / num
    theirs = sum(satterthwaite(errors, value) <= level for value, errors in far) / num
    assert ours < level * 1.5
    assert theirs > level * 3


@pytest.mark.parametrize("df", range(4, 12))
def test_p_is_at_most_one(df: int):
    rng = np.random.default_rng(df)
    for seeds, examples in rng.uniform(0.01, 1.0, size=(50, 2)):
        assert Errors(float(seeds), df, float(examples), 300).p(0.0) <= 1.0
