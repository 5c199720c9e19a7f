"""The CRF's likelihood and its best tags, against all sequences of tags."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslm_heads.crf import CrfTagger, best_tags
from sslm_heads.options import CrfOptions
from sslm_objectives.crf import ConditionalRandomField

from sslm_platform.api import HeadContext, OutputKind
from sslm_platform.testing import data

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SIZES = (3, 1, 0, 4)


def targets_of(sizes, seed=0):
    """Texts of so many words, one token each, with tags at random."""
    rng = np.random.default_rng(seed)
    example = np.repeat(np.arange(len(sizes)), sizes)
    word = np.concatenate([np.arange(size) for size in sizes])
    columns = {"example": example, "row": example, "word": word, "position": word + 1, "end": word + 2}
    columns["labels"] = rng.integers(len(LABELS), size=len(word))
    return {name: torch.tensor(c) for name, c in columns.items()} | {"num_words": torch.tensor(sizes)}


def tagger(seed=0, **options):
    torch.manual_seed(seed)
    head = CrfTagger(CrfOptions(**options), HeadContext(8, 40, LABELS)).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


def outputs_of(head, targets):
    hidden_BLD = torch.randn(len(SIZES), 7, 8, generator=torch.Generator().manual_seed(1))
    return head(head.features(hidden_BLD, torch.ones(len(SIZES), 7), targets)), hidden_BLD


def score_of(head, states_WD, tags):
    """Emissions, transitions, begin and end, as Lample et al. write them down."""
    emission_WK = head.output(states_WD)
    score = head.begin[tags[0]] + head.end[tags[-1]] + sum(emission_WK[w, t] for w, t in enumerate(tags))
    return score + sum(head.transition[a, b] for a, b in itertools.pairwise(tags))


@pytest.mark.parametrize("unknown", [False, True])
def test_loss_and_prediction_are_those_of_all_sequences(unknown):
    head, targets = tagger(constrained=False), targets_of(SIZES)
    if unknown:
        targets["labels"][1] = -1
    outputs, hidden_BLD = outputs_of(head, targets)
    loss_B = ConditionalRandomField().losses(outputs, targets, len(SIZES))
    predictions = head.predict(outputs, targets, len(SIZES))
    for text, size in enumerate(SIZES):
        if not size:
            assert loss_B[text] == 0
            assert len(predictions[text]) == 0
            continue
        states_WD = hidden_BLD[text, 1 : size + 1]
        gold = targets["labels"][targets["example"] == text].tolist()
        every = list(itertools.product(range(len(LABELS)), repeat=size))
        scores = torch.stack([score_of(head, states_WD, tags) for tags in every])
        is_gold = [all(g in (-1, t) for g, t in zip(gold, tags, strict=True)) for tags in every]
        expected = scores.logsumexp(0) - scores[torch.tensor(is_gold)].logsumexp(0)
        assert loss_B[text].item() == pytest.approx(expected.item(), rel=1e-4)
        assert tuple(predictions[text]) == every[int(scores.argmax())]


def test_gradients_are_those_of_autograd():
    targets = targets_of(SIZES)
    outputs = torch.randn(len(targets["labels"]), len(LABELS), len(LABELS), dtype=torch.float64)
    outputs.requires_grad_()
    loss = ConditionalRandomField().losses(outputs, targets, len(SIZES)).sum()
    (found,) = torch.autograd.grad(loss, outputs)
    step = torch.zeros_like(outputs)
    step[5, 2, 3] = 1e-2
    shifted = [
        ConditionalRandomField().losses(outputs.detach() + sign * step, targets, len(SIZES)).sum().item()
        for sign in (1, -1)
    ]
    assert found[5, 2, 3].item() == pytest.approx((shifted[0] - shifted[1]) / 2e-2, abs=1e-3)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1000), size=st.integers(1, 5))
def test_constrained_tags_are_the_best_valid_ones(seed, size):
    rng, head = np.random.default_rng(seed), tagger()
    score_WKK = rng.normal(size=(size, len(LABELS), len(LABELS)))
    score_WKK[0] = score_WKK[0, :1]

    def is_valid(tags):
        names = ["O", *(LABELS[tag] for tag in tags)]
        return all(b[0] != "I" or a[1:] == b[1:] for a, b in itertools.pairwise(names))

    def total(tags):
        return sum(score_WKK[w, tags[w - 1] if w else 0, tag] for w, tag in enumerate(tags))

    valid = [tags for tags in itertools.product(range(len(LABELS)), repeat=size) if is_valid(tags)]
    assert tuple(best_tags(score_WKK, head.allowed)) == max(valid, key=total)


def test_a_fit_learns_that_tags_depend_on_those_before():
    """Every other word is tagged, whatever it is: emissions alone cannot know."""
    tags = np.array([1, 0] * 3)
    targets = targets_of((6, 6, 6, 6)) | {"labels": torch.tensor(np.tile(tags, 4))}
    hidden_BLD = torch.ones(4, 8, data.HIDDEN_SIZE)
    head = CrfTagger(CrfOptions(dropout=0.0), HeadContext(data.HIDDEN_SIZE, 40, LABELS))
    rows = head.features(hidden_BLD, torch.ones(4, 8), targets)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        ConditionalRandomField().losses(head(rows), targets, 4).sum().backward()
        optimizer.step()
    for prediction in head.predict(head(rows), targets, 4):
        assert prediction.tolist() == tags.tolist()
    assert OutputKind.TAG_PAIR_LOGITS.has_tags
