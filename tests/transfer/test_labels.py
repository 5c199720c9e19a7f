"""Labels of a source as labels of a target, and heads that answer with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslm_platform.transfer.labels import label_kinds, match_labels, unmatched
from sslm_platform.transfer.mapped_head import MappedHead

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.mark.parametrize(
    ("source", "target", "renamed", "expected"),
    [
        (("bad", "good"), ("bad", "good"), {}, (0, 1)),
        (("good", "bad"), ("bad", "good"), {}, (1, 0)),
        (("Bad", "GOOD"), ("bad", "good"), {}, (0, 1)),
        (("bad",), ("Bad", "BAD"), {}, (-1,)),  # two that differ in case alone: no choice
        (("bad",), ("Bad", "bad"), {}, (1,)),  # the exact one first
        (("1", "2", "3", "4"), ("bad", "good"), {"1": "bad", "2": "bad", "4": "good"}, (0, 0, -1, 1)),
        (("good", "bad"), ("bad", "good"), {"good": "bad"}, (0, 0)),  # the map before the name
    ],
)
def test_labels_match_by_the_map_then_by_name_then_ignoring_case(source, target, renamed, expected):
    assert match_labels(source, target, renamed, tags=False) == expected


def test_tags_match_by_type_and_keep_their_prefix():
    source = ("O", "B-person", "I-person", "B-loc", "I-loc", "B-band", "I-band")
    found = match_labels(source, TAGS, {"person": "PER", "band": "O"}, tags=True)
    assert found == (0, 1, 2, 3, 4, 0, 0)
    assert unmatched(found, TAGS) == ()
    assert unmatched(match_labels(source, TAGS, {}, tags=True), TAGS) == ("B-PER", "I-PER")
    assert label_kinds(source, tags=True) == ("O", "person", "loc", "band")


class Fixed(torch.nn.Module):
    """A head whose logits are its features."""

    def features(self, hidden, mask, targets):
        return hidden

    def forward(self, features):
        return features

    def predict(self, outputs, targets, num_examples):
        return outputs.argmax(dim=-1).tolist()


def test_a_target_label_has_the_probability_of_all_labels_that_stand_for_it():
    """Two weak labels of one meaning beat the strongest; what stands for nothing takes no part."""
    p = np.array([[0.3, 0.25, 0.4, 0.05], [0.1, 0.1, 0.2, 0.6]])
    head = MappedHead(Fixed(), Fixed(), (0, 0, 1, -1))
    logits = head(torch.tensor(np.log(p)) + 3.0)
    q = torch.softmax(logits, dim=-1).numpy()
    np.testing.assert_allclose(q, [[0.55 / 0.95, 0.4 / 0.95], [0.5, 0.5]])
    assert head.predict(logits[:1], {}, 1) == [0]


def test_a_tied_head_is_mapped_too():
    """The encoder calls what a tied head puts before the tied weights."""
    source = Fixed()
    source.transform = torch.tanh
    assert MappedHead(source, Fixed(), (0, 1)).transform(torch.zeros(1)).tolist() == [0.0]
