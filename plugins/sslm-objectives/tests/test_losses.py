"""Losses against formulas written with numpy."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sslm_objectives.cross_entropy import SequenceCrossEntropy, TokenCrossEntropy
from sslm_objectives.mse import MeanSquaredError
from sslm_objectives.options import CrossEntropyOptions

from sslm_platform.api import Encoded, ObjectiveContext, OutputKind, Vocabulary

CONTEXT = ObjectiveContext(
    OutputKind.SEQUENCE_LOGITS, Vocabulary(10, 0, 4, frozenset()), ("a", "b", "c"), (1, 1, 1), 3
)


def encoded(length=3, word_start_W=None, **values):
    return Encoded(np.arange(length), np.zeros(length, bool), values, word_start_W=word_start_W)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_labels(smoothing):
    logits = np.random.default_rng(0).normal(size=(4, 3))
    labels = [2, 0, 1, 1]
    objective = SequenceCrossEntropy(CrossEntropyOptions(label_smoothing=smoothing), CONTEXT)
    batch = objective.collate([encoded(label=label) for label in labels], [])
    target = (1 - smoothing) * np.eye(3)[labels] + smoothing / 3
    expected = -(target * log_softmax(logits, axis=1)).sum(axis=1)
    assert objective.losses(torch.tensor(logits), batch.targets, 4).numpy() == pytest.approx(
        expected, rel=1e-5
    )
    assert batch.weight_B.tolist() == [1, 1, 1, 1]


def test_cross_entropy_of_tags_sums_over_the_words_that_were_seen():
    examples = [
        encoded(5, np.array([1, 3]), tags=np.array([0, 2])),
        encoded(2, np.array([-1, -1]), tags=np.array([1, 1])),
        encoded(4, np.array([1, 2, -1]), tags=np.array([1, 0, 2])),
    ]
    objective = TokenCrossEntropy(CrossEntropyOptions(), CONTEXT)
    batch = objective.collate(examples, [])
    assert {name: value.tolist() for name, value in batch.targets.items() if name != "weight"} == {
        "labels": [0, 2, 1, 0],
        "example": [0, 0, 2, 2],
        "row": [0, 0, 2, 2],
        "position": [1, 3, 1, 2],
        "end": [2, 4, 2, 3],
        "word": [0, 1, 0, 1],
        "num_words": [2, 2, 3],
    }
    assert batch.weight_B.tolist() == [2, 0, 2]
    logits = np.random.default_rng(1).normal(size=(4, 3))
    nats = -log_softmax(logits, axis=1)[range(4), [0, 2, 1, 0]]
    losses = objective.losses(torch.tensor(logits), batch.targets, 3).numpy()
    assert losses == pytest.approx([nats[0] + nats[1], 0, nats[2] + nats[3]], rel=1e-5)


def test_tags_that_train_does_not_have_weigh_nothing():
    objective = TokenCrossEntropy(CrossEntropyOptions(label_smoothing=0.1), CONTEXT)
    given = [encoded(5, np.array([1, 2, 3]), tags=np.array(tags)) for tags in ([0, -1, 2], [-1, -1, -1])]
    batch = objective.collate(given, [])
    assert batch.weight_B.tolist() == [2, 0]
    assert batch.targets["labels"].tolist() == [0, -1, 2, -1, -1, -1]  # every word is predicted
    logits = torch.randn(6, 3)
    (known,) = (objective.collate([encoded(5, np.array([1, 3]), tags=np.array([0, 2]))], []),)
    expected = objective.losses(logits[[0, 2]], known.targets, 1)
    assert objective.losses(logits, batch.targets, 2).tolist() == pytest.approx([float(expected[0]), 0])


def test_squared_error():
    objective = MeanSquaredError()
    batch = objective.collate([encoded(value=1.5), encoded(value=-2.0)], [])
    assert objective.losses(torch.tensor([1.0, 1.0]), batch.targets, 2).tolist() == [0.25, 9.0]


def test_losses_of_half_precision_outputs_are_single_precision():
    objective = SequenceCrossEntropy(CrossEntropyOptions(), CONTEXT)
    batch = objective.collate([encoded(label=0)], [])
    assert objective.losses(torch.zeros(1, 2, dtype=torch.bfloat16), batch.targets, 1).dtype == torch.float32
