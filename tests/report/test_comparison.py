"""Balancers compared: what the differences are, whatever the metric's direction."""

from __future__ import annotations

import numpy as np
import pytest

from sslm_platform.errors import RunError
from sslm_platform.report.comparison import OVERALL, Candidate, Training, compare
from sslm_platform.report.records import MetricValue, TaskScore
from sslm_platform.statistics import Sample, infer

RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 0.02, size=(5, 200))  # of each seed's resamples, which all candidates share


def value(number):
    return MetricValue(value=number, low=number, high=number)


def score(task, number, noise, *, metric="accuracy", up=True, best=1.0, constant=0.5):
    return TaskScore(task=task, metric=metric, higher_is_better=up, best=best, num_test=100,
                     scores={metric: value(number)}, majority={metric: value(constant)},
                     resamples=tuple(number + noise))  # fmt: skip


def candidate(name, shift, seeds=5):
    """Accuracy ``shift`` above 0.7, bits ``shift`` below 4; a hundredth more with each seed."""
    trainings = tuple(
        Training(
            seed=seed + 1,
            dev=0.0,
            scores=(
                score(
                    "mlm",
                    4 - shift + seed / 100,
                    NOISE[seed],
                    metric="bits",
                    up=False,
                    best=0.0,
                    constant=8.0,
                ),
                score("sentiment", 0.7 + shift + seed / 100, NOISE[seed]),
            ),
        )
        for seed in range(seeds)
    )
    return Candidate(name=name, balancer={"name": name}, trainings=trainings)


def row(comparison, name, task):
    (found,) = [r for r in comparison.results if (r.candidate, r.task) == (name, task)]
    return found


def test_better_is_better_in_any_direction():
    found = compare([candidate("equal", 0.0), candidate("famo", 0.1)])
    assert [(r.candidate, r.task) for r in found.results] == [
        (name, task) for name in ("equal", "famo") for task in ("mlm", "sentiment", OVERALL)
    ]
    for task in ("mlm", "sentiment"):
        assert row(found, "famo", task).better == pytest.approx(0.1)
        # the same examples and seeds: all noise is shared, and the difference has none
        assert row(found, "famo", task).better_low == pytest.approx(0.1, abs=1e-6)
    assert row(found, "famo", "mlm").value == pytest.approx(3.92)
    gains = [(0.82 - 0.5) / 0.5, (3.92 - 8) / -8]
    assert row(found, "famo", OVERALL).value == pytest.approx(np.mean(gains))
    assert row(found, "famo", OVERALL).better == pytest.approx((0.1 / 0.5 + 0.1 / 8) / 2)
    assert row(found, "equal", "mlm").better is None


def test_a_scores_interval_is_over_seeds_and_examples():
    found = row(compare([candidate("equal", 0.0)]), "equal", "sentiment")
    values = 0.7 + np.arange(5) / 100
    expected = infer(Sample((1, 2, 3, 4, 5), values, values[:, None] + NOISE, 100, 5)).estimate()
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert not found.conditional
    assert compare([candidate("equal", 0.0, seeds=1)]).results[0].conditional


def test_many_differences_are_corrected_for():
    noisy = [candidate("equal", 0.0)]
    for name, shift in (("a", 0.0), ("b", 0.01)):
        plain = candidate(name, shift)
        trainings = tuple(
            t.model_copy(update={"scores": tuple(
                s.model_copy(update={"resamples": tuple(np.array(s.resamples) + RNG.normal(0, 0.01, 200))})
                for s in t.scores)})
            for t in plain.trainings
        )  # fmt: skip
        noisy.append(plain.model_copy(update={"trainings": trainings}))
    rows = [r for r in compare(noisy).results if r.p is not None]
    assert len(rows) == 6
    assert all(r.q >= r.p for r in rows)
    assert any(r.q > r.p for r in rows)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(RunError, match="has no 'equal'"):
        compare([candidate("famo", 0.0)])
    with pytest.raises(RunError, match="famo: other seeds or tasks than equal"):
        compare([candidate("equal", 0.0), candidate("famo", 0.0, seeds=3)])
