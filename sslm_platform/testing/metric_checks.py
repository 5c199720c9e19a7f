"""Checks of metrics."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from sslm_platform.interfaces import DecomposableMetric, Metric, Scored
from sslm_platform.kinds import OutputKind
from sslm_platform.testing import data
from sslm_platform.testing.cases import Case
from sslm_platform.types import MetricContext, MetricDef

MetricCase = Case[MetricDef]
TOLERANCE = 1e-9


def build(case: MetricCase) -> Metric:
    """Build the metric of a case."""
    context = MetricContext(case.kind, data.labels_of(case.kind))
    metric = case.definition.build(case.parsed_options(), context)
    assert isinstance(metric, Metric), f"a metric is a subclass of Metric; got {type(metric).__name__}"
    return metric


def check_score_is_a_float(case: MetricCase) -> None:
    """``score`` returns a plain, finite float: records are JSON."""
    value = build(case).score(data.make_scored(case.kind))
    assert type(value) is float, f"score returns {type(value).__name__}, not float"
    assert math.isfinite(value), f"score returns {value}"


def check_resample_of_ones_is_score(case: MetricCase) -> None:
    """Every example once is the score."""
    metric, scored = build(case), data.make_scored(case.kind)
    resampled_R = metric.resample(scored, np.ones((2, len(scored)), dtype=np.int64))
    assert np.shape(resampled_R) == (2,), f"resample returns {np.shape(resampled_R)}, not (R,)"
    assert np.allclose(resampled_R, metric.score(scored), atol=TOLERANCE), "resample of ones is not score"


def check_resample_is_score_of_repeats(case: MetricCase) -> None:
    """A resample is the score of the examples repeated as often as it counts them."""
    metric, scored = build(case), data.make_scored(case.kind)
    counts_RN = np.random.default_rng(4).multinomial(len(scored), np.full(len(scored), 1 / len(scored)), 6)
    repeated = [scored.take(np.repeat(np.arange(len(scored)), counts_N)) for counts_N in counts_RN]
    expected = [metric.score(sample) for sample in repeated]
    assert np.allclose(metric.resample(scored, counts_RN), expected, atol=TOLERANCE), (
        "a resample is not the score of the repeated examples"
    )


def check_example_order(case: MetricCase) -> None:
    """The order of the examples does not matter."""
    metric, scored = build(case), data.make_scored(case.kind)
    shuffled = scored.take(np.random.default_rng(2).permutation(len(scored)))
    assert math.isclose(metric.score(scored), metric.score(shuffled), abs_tol=TOLERANCE), (
        "the score depends on the order of the examples"
    )


def check_perfect_is_best(case: MetricCase) -> None:
    """The perfect predictor, of loss 0, has the value that the definition calls best."""
    value, best = build(case).score(data.make_scored(case.kind, accuracy=1.0)), case.definition.best
    assert math.isfinite(best), "best must be finite"
    assert math.isclose(value, best, abs_tol=1e-6), f"perfect predictions score {value}; best says {best}"


def check_direction(case: MetricCase) -> None:
    """Fewer right predictions never score better, and none right scores worse than best."""
    metric, sign = build(case), 1 if case.definition.higher_is_better else -1
    shares = (1.0, 0.6, 0.2, 0.0)
    scores = [sign * metric.score(data.make_scored(case.kind, num=200, accuracy=s)) for s in shares]
    assert scores == sorted(scores, reverse=True), (
        f"scores of {shares} right: {scores}; is higher_is_better right?"
    )
    assert scores[-1] < scores[0], "wrong predictions score as well as right ones"


def check_degenerate_input(case: MetricCase) -> None:
    """One example, constant answers, no words and words cut off give finite scores."""
    metric = build(case)
    for name, scored in _degenerate(case.kind).items():
        value = metric.score(scored)
        assert math.isfinite(value), f"{name}: score is {value}; 0/0 must be a number, say 0"
        resampled_R = metric.resample(scored, np.full((2, len(scored)), 2))
        twice = metric.score(scored.take(np.repeat(np.arange(len(scored)), 2)))
        assert np.allclose(resampled_R, twice, atol=TOLERANCE), f"{name}: resample is not score"


def _degenerate(kind: OutputKind) -> dict[str, Scored]:
    scored = data.make_scored(kind, num=6)
    constant = [scored.references[0]] * 6
    cases = {
        "one example": scored.take(np.array([0])),
        "constant references": replace(
            scored, references=constant, predictions=_like(kind, scored, constant)
        ),
        "all constant": replace(scored, references=constant, predictions=_right(kind, scored, constant)),
    }
    if kind in data.TEXT_KINDS:
        cases["nothing generated"] = replace(scored, predictions=[""] * 6)
    if kind in data.ROW_KINDS:
        nothing = [np.zeros(0, np.int64)] * 6
        cases["no items"] = Scored(nothing, nothing, np.zeros(6), np.zeros(6))
    if kind.has_tags:
        outside = [np.full(3, data.TAGS.index("O"))] * 6
        cases["nothing but O"] = replace(scored, predictions=outside, references=outside)
        cut_off = [np.full_like(reference, -1) for reference in scored.references]
        cases["all words cut off"] = replace(scored, predictions=cut_off)
    return cases


def _right(kind: OutputKind, scored: Scored, constant: list[Any]) -> list[Any]:
    return [scored.predictions[0]] * len(constant) if kind in data.SPAN_KINDS else constant


def _like(kind: OutputKind, scored: Scored, references: list[Any]) -> list[Any]:
    if kind in data.ROW_KINDS:
        return [np.roll(reference, i) for i, reference in enumerate(references)]
    return list(scored.predictions)


def check_statistics_are_of_one_example(case: MetricCase) -> None:
    """An example's statistics do not depend on the others: parts of a data set can be merged."""
    metric, scored = build(case), data.make_scored(case.kind)
    assert isinstance(metric, DecomposableMetric)
    whole_NK = metric.statistics(scored)
    expected = f"statistics are {whole_NK.shape}, not ({len(scored)}, K)"
    assert whole_NK.ndim == 2, expected
    assert len(whole_NK) == len(scored), expected
    rows = np.array([5, 1])
    assert np.array_equal(whole_NK[rows], metric.statistics(scored.take(rows))), (
        "statistics depend on the other examples: subclass Metric, not DecomposableMetric"
    )


ANY_METRIC = (
    check_score_is_a_float,
    check_resample_of_ones_is_score,
    check_resample_is_score_of_repeats,
    check_example_order,
    check_degenerate_input,
)
RANKING_METRIC = (check_perfect_is_best, check_direction)


def metric_checks(case: MetricCase) -> tuple[Any, ...]:
    """Return the checks that apply to a case."""
    decomposable = isinstance(build(case), DecomposableMetric)
    ranking = () if case.definition.descriptive else RANKING_METRIC
    return ANY_METRIC + ranking + ((check_statistics_are_of_one_example,) if decomposable else ())
