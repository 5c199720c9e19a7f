"""The temperature against a grid, and what it does to probabilities that are too sure."""

import numpy as np
import pytest
import torch
from sslm_heads.calibrated import CalibratedClassifier
from sslm_heads.options import ClassifierOptions

from sslm_platform.api import HeadContext, Scored
from sslm_platform.decisions import tune_head

LABELS = ("a", "b", "c")


def scored(head, logits_NK, label_N):
    scores = head.scores(torch.from_numpy(logits_NK), {}, len(label_N))
    ones_N = np.ones(len(label_N))
    return Scored(head.decide(scores), label_N.tolist(), ones_N, ones_N, scores)


def drawn(factor, num=400):
    """Labels from softmax(z), and logits that are ``factor`` times z."""
    rng = np.random.default_rng(3)
    z_NK = 2 * rng.normal(size=(num, 3))
    share_NK = np.exp(z_NK) / np.exp(z_NK).sum(axis=1, keepdims=True)
    return factor * z_NK, np.array([rng.choice(3, p=share_K) for share_K in share_NK])


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_temperature_makes_dev_likeliest_and_is_found_again(factor):
    head = CalibratedClassifier(ClassifierOptions(calibrate=True), HeadContext(4, 10, LABELS))
    logits_NK, label_N = drawn(factor)

    def loss(temperature):
        log_p = torch.log_softmax(torch.from_numpy(logits_NK) / temperature, dim=-1).numpy()
        return -log_p[np.arange(len(label_N)), label_N].mean()

    grid = np.exp(np.linspace(-2.5, 2.5, 2001))
    best = grid[np.argmin([loss(t) for t in grid])]
    before = scored(head, logits_NK, label_N)
    (after,) = tune_head(head, [before])
    assert float(head.temperature) == pytest.approx(best, rel=5e-3)
    assert float(head.temperature) == pytest.approx(factor, rel=0.25)
    assert after.predictions == before.predictions
    for one, again in zip(after.scores, scored(head, logits_NK, label_N).scores, strict=True):
        assert one == pytest.approx(again)
    tune_head(head, [after])
    assert float(head.temperature) == pytest.approx(best, rel=5e-3)


def test_scores_that_separate_the_labels_leave_the_temperature_in_range():
    """Each dev scoring tunes again: what has no best must not drift with their number."""
    head = CalibratedClassifier(ClassifierOptions(calibrate=True), HeadContext(4, 10, LABELS))
    label_N = np.arange(60) % 3
    logits_NK = 3.0 * np.eye(3)[label_N] + 0.1 * np.random.default_rng(0).normal(size=(60, 3))
    for _ in range(5):
        tune_head(head, [scored(head, logits_NK, label_N)])
        assert float(head.temperature) >= 0.0099


def test_unknown_labels_say_nothing():
    head = CalibratedClassifier(ClassifierOptions(calibrate=True), HeadContext(4, 10, LABELS))
    logits_NK, _ = drawn(1.0, num=5)
    tune_head(head, [scored(head, logits_NK, np.full(5, -1))])
    assert float(head.temperature) == 1.0
