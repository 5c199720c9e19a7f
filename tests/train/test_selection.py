"""Which scoring is kept, and when a training stops."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from sslm_platform.spec.schema import EvaluationSpec
from sslm_platform.train.selection import Selection, selection_value


def test_the_first_of_equal_scorings_is_kept():
    selection = Selection(EvaluationSpec())
    assert [selection.observe(v, s) for s, v in ((5, 0.3), (10, 0.3), (15, 0.4), (20, 0.1))] == [
        True,
        False,
        True,
        False,
    ]
    assert (selection.best, selection.best_step, selection.since_best) == (0.4, 15, 1)
    assert not selection.exhausted  # no patience, no end


def test_patience_counts_scorings_since_the_best_one():
    selection = Selection(EvaluationSpec(every=1, patience=2))
    stops = []
    for step, value in enumerate((0.1, 0.0, 0.2, 0.1, 0.2), start=1):
        selection.observe(value, step)
        stops.append(selection.exhausted)
    assert stops == [False, False, False, False, True]


def test_the_last_scorings_are_kept_whatever_they_are():
    selection = Selection(EvaluationSpec(every=1, select_by="last"), keep=2)
    kept = [selection.observe(value, step) for step, value in ((5, 0.4), (10, math.nan), (15, 0.1))]
    assert kept == [True, True, True]
    assert [scoring.step for scoring in selection.kept] == [15, 10]
    assert (selection.best_step, selection.since_best) == (15, 0)


def test_the_last_scoring_needs_no_patience():
    with pytest.raises(ValidationError, match="select_by: last looks for none"):
        EvaluationSpec(every=1, patience=2, select_by="last")


def test_an_undefined_scoring_is_kept_only_until_there_is_another():
    selection = Selection(EvaluationSpec())
    assert selection.observe(math.nan, 1)
    assert not selection.observe(math.nan, 2)
    assert selection.observe(-5.0, 3)
    assert not selection.observe(math.nan, 4)
    assert (selection.best, selection.best_step) == (-5.0, 3)


@pytest.fixture
def scores(model):
    """Every task half way from the constant predictor to perfect, but for masking, which got worse."""
    baseline, scores = {}, {}
    for identity, part in model.tasks.items():
        low, best = (6.0, 0.0) if identity == "mlm@film" else (0.2, 1.0)
        names = part.task.metrics
        baseline[identity] = dict.fromkeys(names, low)
        scores[identity] = dict.fromkeys(names, (low + best) / 2)
    scores["mlm@film"]["bits_per_token"] = 9.0
    return scores, baseline


def test_the_mean_gain_is_over_tasks_in_each_metrics_own_direction(model, scores):
    value = selection_value("mean_gain_over_majority", model.tasks, *scores)
    assert value == pytest.approx((5 * 0.5 - 0.5) / 6)


def test_a_named_metric_is_turned_so_that_higher_is_better(model, scores):
    assert selection_value("sentiment@film/accuracy", model.tasks, *scores) == pytest.approx(0.6)
    assert selection_value("mlm@film/bits_per_token", model.tasks, *scores) == -9.0
