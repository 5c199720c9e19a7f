import numpy as np
import pytest
import torch
from sslm_heads.layers import pool
from sslm_heads.lm import LanguageModelHead
from sslm_heads.options import TokenOptions
from sslm_heads.token import TokenClassifier
from transformers import BertConfig, BertForMaskedLM

from sslm_platform.api import HeadContext

HIDDEN = torch.tensor([[[1.0, -1.0], [3.0, -5.0], [99.0, 99.0]], [[2.0, 0.0], [4.0, 0.0], [0.0, 9.0]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", [[2.0, -3.0], [2.0, 3.0]]),
        ("max", [[3.0, -1.0], [4.0, 9.0]]),
        ("cls", [[1.0, -1.0], [2.0, 0.0]]),
    ],
)
def test_pooling(how, expected):
    assert pool(HIDDEN, MASK, how).tolist() == expected


def test_infinite_padding_does_not_reach_the_mean():
    """0 times infinity is not a number: padding must be left out, not multiplied away."""
    hidden = HIDDEN.clone()
    hidden[0, 2] = float("inf")
    assert pool(hidden, MASK, "mean")[0].tolist() == [2.0, -3.0]


def predict_with(labels):
    """Predict three words, the second cut off, with logits that say label 1."""
    head = TokenClassifier(TokenOptions(), HeadContext(4, 10, labels))
    targets = {
        "example": torch.tensor([0, 0]),
        "word": torch.tensor([0, 2]),
        "num_words": torch.tensor([3, 0]),
    }
    logits = torch.tensor([[0.0, 1.0, 0.0]] * 2)
    return [prediction.tolist() for prediction in head.predict(logits, targets, 2)]


def test_cut_off_words_are_outside():
    assert predict_with(("B-X", "I-X", "O")) == [[1, 2, 1], []]


def test_cut_off_words_are_never_right_where_no_label_is_outside():
    assert predict_with(("ADJ", "NOUN", "VERB")) == [[1, -1, 1], []]


def test_lm_head_is_berts():
    """Against ``transformers``' own head with the same weights."""
    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForMaskedLM(config).eval()
        hidden = torch.randn(5, 8)
    theirs = model.cls.predictions
    torch.nn.init.normal_(theirs.bias, generator=torch.Generator().manual_seed(1))
    head = LanguageModelHead(HeadContext(8, 30, ()))
    head.dense.load_state_dict(theirs.transform.dense.state_dict())
    head.norm.load_state_dict(theirs.transform.LayerNorm.state_dict())
    head.bias.data.copy_(theirs.bias)
    embedding = model.get_input_embeddings().weight
    assert torch.allclose(head(head.transform(hidden) @ embedding.T), theirs(hidden), atol=1e-6)


def test_lm_predictions_of_shuffled_rows_go_to_their_examples():
    head = LanguageModelHead(HeadContext(4, 6, ()))
    targets = {"example": torch.tensor([2, 0, 2])}
    predictions = head.predict(torch.eye(6)[[5, 1, 3]], targets, 3)
    assert [p.tolist() for p in predictions] == [[1], [], [5, 3]]
    assert all(np.issubdtype(p.dtype, np.integer) for p in predictions)


@pytest.mark.parametrize("alignment", ["first", "mean", "last"])
def test_alignment_of_words_of_several_tokens(alignment):
    """Against a loop over words."""
    hidden = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    words = [(0, 1, 4), (0, 4, 5), (1, 2, 6)]
    columns = zip(*words, strict=True)
    targets = {n: torch.tensor(c) for n, c in zip(("row", "position", "end"), columns, strict=True)}
    head = TokenClassifier(TokenOptions(alignment=alignment), HeadContext(3, 10, ("O", "B-X", "I-X")))
    how = {"first": lambda s: s[0], "mean": lambda s: s.mean(dim=0), "last": lambda s: s[-1]}[alignment]
    expected = torch.stack([how(hidden[example, start:end]) for example, start, end in words])
    assert torch.allclose(head.features(hidden, torch.ones(2, 7), targets), expected, atol=1e-6)
