"""The loss of spans against probabilities written out."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from sslm_objectives.span_cross_entropy import SpanCrossEntropy

from sslm_platform.api import Encoded

CONTEXT = "ab cd ef"
OFFSETS = [[-1, -1], [0, 2], [3, 5], [-1, -1], [-1, -1], [3, 5], [6, 8]]  # two windows that share "cd"


def example(*answers, offsets=OFFSETS, windows=(0, 4)):
    found = [{"text": text, "start": CONTEXT.index(text)} for text in answers]
    return Encoded(
        np.arange(len(offsets)),
        np.zeros(len(offsets), bool),
        {"answers": {"context": CONTEXT, "answers": found}},
        window_S=np.array(windows),
        offset_L2=np.array(offsets),
    )


def test_rows_are_the_tokens_of_all_windows_and_no_answer_of_each():
    targets = SpanCrossEntropy().collate([example("cd"), example()], []).targets
    assert targets["example"].tolist() == [0] * 6 + [1] * 6
    assert targets["row"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert targets["position"].tolist() == [0, 1, 2] * 4
    assert targets["start"].tolist() == [-1, 0, 3, -1, 3, 6] * 2
    assert targets["labels"].tolist() == [0, 0, 3, 0, 3, 0, 3, 0, 0, 3, 0, 0]


def test_loss_is_that_of_all_windows_together():
    """ "cd" is in both windows, "cd ef" in the second only, "ab cd ef" in none."""
    examples = [example("cd ef"), example("cd"), example(), example("ab cd ef")]
    objective = SpanCrossEntropy()
    batch = objective.collate(examples, [])
    assert batch.weight_B.tolist() == [1, 1, 1, 0]
    logits = np.random.default_rng(0).normal(size=(24, 2)) * 3
    losses = objective.losses(torch.tensor(logits), batch.targets, 4).numpy()
    p = log_softmax(logits.reshape(4, 6, 2), axis=1)
    expected = [
        -p[0, 4, 0] - p[0, 5, 1],
        -logsumexp(p[1, [2, 4], 0]) - logsumexp(p[1, [2, 4], 1]),
        -logsumexp(p[2, [0, 3], 0]) - logsumexp(p[2, [0, 3], 1]),
        0.0,
    ]
    assert losses == pytest.approx(expected, abs=1e-4)


def test_parts_of_a_token_are_answered_by_the_token():
    targets = SpanCrossEntropy().collate([example("b c")], []).targets
    assert targets["labels"].tolist() == [0, 1, 2, 0, 0, 0]


def test_gradient_of_far_logits_is_finite():
    objective = SpanCrossEntropy()
    batch = objective.collate([example("cd")], [])
    logits = torch.full((6, 2), 300.0, requires_grad=True)
    logits.data[2] = -300.0
    objective.losses(logits, batch.targets, 1).sum().backward()
    assert torch.isfinite(logits.grad).all()
