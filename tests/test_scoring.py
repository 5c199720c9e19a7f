"""Intervals are paired where they must be; gains have one scale."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

from sslm_platform.interfaces import Scored
from sslm_platform.scoring import build_metrics, normalized_gain, score_intervals
from sslm_platform.statistics import NUM_RESAMPLES, resample_counts


def scored_of(predictions, references):
    return Scored(predictions, references, np.zeros(len(references)), np.ones(len(references)))


def test_intervals_hold_the_score_and_models_of_one_task_are_resampled_alike(corpus):
    task = corpus.run.tasks["sentiment@film"]
    rng = np.random.default_rng(0)
    gold = rng.integers(2, size=60).tolist()
    good = [g if rng.random() < 0.9 else 1 - g for g in gold]
    better = list(good)
    better[next(i for i, (g, p) in enumerate(zip(gold, good, strict=True)) if g != p)] ^= 1
    labels = ("negative", "positive")
    values, resamples_R = score_intervals(task, scored_of(good, gold), labels)
    _, better_R = score_intervals(task, scored_of(better, gold), labels)
    assert set(values) == {"macro_f1", "accuracy"}
    assert len(resamples_R) == NUM_RESAMPLES
    for value in values.values():
        assert value.low < value.value < value.high
    gains_R = np.subtract(better_R, resamples_R)
    assert gains_R.min() > -0.01  # one example more is right: paired, it can hardly lose
    assert gains_R.std() < 0.5 * np.std(resamples_R)


def test_tasks_on_the_same_texts_are_resampled_alike(corpus):
    """A mean over them must not take one difficult text for two."""
    predicted, gold = [0, 1, 1, 0, 0, 1] * 10, [0, 1] * 30
    _, of_labels = score_intervals(corpus.run.tasks["sentiment@film"], scored_of(predicted, gold), ("a", "b"))
    counts_RN = resample_counts(60, NUM_RESAMPLES, zlib.crc32(b"films"))
    metric = next(iter(build_metrics(corpus.run.tasks["sentiment@film"], ("a", "b")).values()))
    np.testing.assert_allclose(metric.resample(scored_of(predicted, gold), counts_RN), of_labels, atol=1e-6)
    spearman = build_metrics(corpus.run.tasks["rating@film"], ())["spearman"]
    ratings = scored_of([float(p) + 0.01 * i for i, p in enumerate(predicted)], [float(g) for g in gold])
    _, of_ratings = score_intervals(corpus.run.tasks["rating@film"], ratings, ())
    np.testing.assert_allclose(spearman.resample(ratings, counts_RN), of_ratings, atol=1e-6)


def test_another_task_draws_other_resamples(corpus):
    gold = [0, 1] * 30
    predicted = [0, 1, 1, 0, 0, 1] * 10
    film, shop = (
        score_intervals(corpus.run.tasks[name], scored_of(predicted, gold), ("negative", "positive"))[1]
        for name in ("sentiment@film", "sentiment@shop")
    )
    assert film != shop


@pytest.mark.parametrize(
    ("task", "score", "baseline", "expected"),
    [
        ("sentiment@film", 1.0, 0.25, 1.0),
        ("sentiment@film", 0.25, 0.25, 0.0),
        ("sentiment@film", 0.0, 0.5, -1.0),
        ("mlm@film", 3.0, 6.0, 0.5),  # bits: lower is better, 0 is perfect
        ("mlm@film", 9.0, 6.0, -0.5),
        ("sentiment@film", 1.0, 1.0, 0.0),  # a perfect baseline leaves nothing to gain
    ],
)
def test_normalized_gain_is_the_share_of_the_way_to_perfect(corpus, task, score, baseline, expected):
    assert normalized_gain(corpus.run.tasks[task], score, baseline) == pytest.approx(expected)


def test_without_losses_there_is_no_metric_of_losses(corpus):
    task = corpus.run.tasks["mlm@film"]
    (name,) = task.metrics
    scored = Scored([""] * 4, [""] * 4, np.full(4, 2.0), np.zeros(4))
    assert score_intervals(task, scored, ())[0] == {}
    assert set(score_intervals(task, replace(scored, weights_N=np.ones(4)), ())[0]) == {name}
