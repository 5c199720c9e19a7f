"""Class weights, focal losses and losses of label sets against torch, scikit-learn and formulas by hand."""

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax
from sklearn.utils.class_weight import compute_class_weight
from sslm_objectives.binary_cross_entropy import BinaryCrossEntropy
from sslm_objectives.cross_entropy import SequenceCrossEntropy, TokenCrossEntropy
from sslm_objectives.options import BinaryCrossEntropyOptions, CrossEntropyOptions

from sslm_platform.api import Encoded, ObjectiveContext, OutputKind, SpecError, Vocabulary

LABELS = ("a", "b", "c")
LOGITS = torch.tensor(np.random.default_rng(0).normal(size=(5, 3)), dtype=torch.float32)
GOLD = [2, 0, 1, 1, 0]


def context(kind=OutputKind.SEQUENCE_LOGITS, labels=LABELS, counts=(6, 3, 1), num_train=10):
    return ObjectiveContext(kind, Vocabulary(10, 0, 4, frozenset()), labels, counts, num_train)


def encoded(**values):
    return Encoded(np.arange(3), np.zeros(3, bool), values, word_start_W=values.pop("starts", None))


def sequence(gold=GOLD, **options):
    objective = SequenceCrossEntropy(CrossEntropyOptions(**options), context())
    batch = objective.collate([encoded(label=label) for label in gold], [])
    return objective.losses(LOGITS, batch.targets, len(gold)), batch.weight_B


def test_weighted_mean_is_torchs():
    weights = {"a": 2.0, "c": 0.25}
    loss, weight = sequence(class_weights=weights)
    expected = torch.nn.CrossEntropyLoss(weight=torch.tensor([2.0, 1.0, 0.25]))(LOGITS, torch.tensor(GOLD))
    assert (loss.sum() / weight.sum()).item() == pytest.approx(expected.item(), rel=1e-6)


def test_balanced_weights_are_scikit_learns():
    train = np.repeat([0, 1, 2], [6, 3, 1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=train)
    assert sequence(class_weights="balanced")[1].tolist() == pytest.approx(expected[GOLD].tolist())


def test_labels_that_train_lacks_do_not_count_for_balance():
    """A head shared with another task has labels that this one never sees."""
    shared = context(labels=(*LABELS, "other"), counts=(6, 3, 1, 0))
    weights = SequenceCrossEntropy(CrossEntropyOptions(class_weights="balanced"), shared).weight_K
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3, 1.0])


def test_focal_loss_is_lins_with_smoothing_apart():
    log_p = log_softmax(LOGITS.double().numpy(), axis=1)
    p = np.exp(log_p[range(5), GOLD])
    target = 0.9 * np.eye(3)[GOLD] + 0.1 / 3
    expected = (1 - p) ** 2 * -(target * log_p).sum(axis=1)
    assert sequence(focal_gamma=2.0, label_smoothing=0.1)[0].numpy() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_gradient_of_a_sure_answer_is_finite(gamma):
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    objective = SequenceCrossEntropy(CrossEntropyOptions(focal_gamma=gamma), context())
    batch = objective.collate([encoded(label=0)], [])
    objective.losses(logits, batch.targets, 1).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_weights_of_unknown_names_are_refused():
    with pytest.raises(SpecError, match=r"class_weights.negatve: no such label; did you mean negative\?"):
        SequenceCrossEntropy(
            CrossEntropyOptions(class_weights={"negatve": 2.0}), context(labels=("negative", "positive"))
        )


def test_tags_weigh_what_their_class_does():
    options = CrossEntropyOptions(class_weights={"b": 3.0})
    objective = TokenCrossEntropy(options, context(OutputKind.TOKEN_LOGITS))
    batch = objective.collate([encoded(tags=np.array([0, 1, -1]), starts=np.array([0, 1, 2]))], [])
    nats = -log_softmax(LOGITS.double().numpy()[:3], axis=1)
    assert batch.weight_B.tolist() == [4.0]
    assert objective.losses(LOGITS[:3], batch.targets, 1).item() == pytest.approx(
        nats[0, 0] + 3 * nats[1, 1], rel=1e-5
    )


SETS = [np.array([0, 2]), np.array([], dtype=np.int64), np.array([1]), np.array([-1, 0]), np.array([0, 1, 2])]


def label_sets(**options):
    objective = BinaryCrossEntropy(BinaryCrossEntropyOptions(**options), context(OutputKind.LABEL_SET_LOGITS))
    batch = objective.collate([encoded(labels=ids) for ids in SETS], [])
    return objective.losses(LOGITS, batch.targets, len(SETS)), batch


def test_label_sets_are_torchs_binary_cross_entropy():
    """A label that the head does not know (-1) is nothing to learn; the mean is over labels and examples."""
    gold = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 1]])
    loss, batch = label_sets(positive_weights="balanced")
    weight = torch.tensor([4 / 6, 7 / 3, 9.0])
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=weight)(LOGITS, gold)
    assert torch.equal(batch.targets["labels"], gold)
    assert (loss.sum() / batch.weight_B.sum()).item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal_label_sets():
    loss, batch = label_sets(focal_gamma=2.0)
    gold, p = batch.targets["labels"].numpy(), expit(LOGITS.double().numpy())
    true = np.where(gold == 1, p, 1 - p)
    assert loss.numpy() == pytest.approx(((1 - true) ** 2 * -np.log(true)).sum(axis=1), rel=1e-4)
