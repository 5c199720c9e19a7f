"""What each token sees, tried on encoders that keep to it and on encoders that do not."""

from types import SimpleNamespace

import pytest
import torch

from sslm_platform.errors import SpecError
from sslm_platform.kinds import AttentionPattern
from sslm_platform.model.attention import check_attention, visible_tokens
from sslm_platform.model.encoder import SharedEncoder

BIDIRECTIONAL, CAUSAL, PREFIX = AttentionPattern
VOCABULARY = 40


def encoder(kind="BertModel", **options):
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, kind)
    config = model.config_class(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        **options,
    )
    return model(config).eval()


@pytest.fixture(scope="module")
def bert():
    return encoder()


def states(backbone, ids_BL, mask_BL, pattern=BIDIRECTIONAL, prefix_B=None):
    visible_B1LL = visible_tokens(mask_BL, pattern, prefix_B)
    with torch.no_grad():
        hidden_BLD, _ = SharedEncoder(backbone)(ids_BL, mask_BL if visible_B1LL is None else visible_B1LL)
    return hidden_BLD


@pytest.fixture
def batch():
    """Two texts, of 7 and 5 tokens."""
    ids_BL = torch.randint(5, VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(1))
    mask_BL = torch.ones(2, 7, dtype=torch.bool)
    mask_BL[1, 5:] = False
    return ids_BL, mask_BL


def test_masks_are_those_of_unilm():
    mask_BL = torch.tensor([[True, True, True, True], [True, True, True, False]])
    assert visible_tokens(mask_BL, BIDIRECTIONAL) is None
    assert visible_tokens(mask_BL, CAUSAL)[:, 0].int().tolist() == [
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]],
    ]
    assert visible_tokens(mask_BL, PREFIX, torch.tensor([2, 3]))[:, 0].int().tolist() == [
        [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
        [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]],
    ]


def test_a_causal_state_is_that_of_the_text_so_far(bert, batch):
    ids_BL, mask_BL = batch
    hidden_BLD = states(bert, ids_BL, mask_BL, CAUSAL)
    assert hidden_BLD.isfinite().all()
    for row, length in ((0, 7), (1, 5)):
        for end in range(1, length + 1):
            so_far = ids_BL[row : row + 1, :end]
            alone_BLD = states(bert, so_far, torch.ones_like(so_far, dtype=torch.bool), CAUSAL)
            torch.testing.assert_close(hidden_BLD[row, end - 1], alone_BLD[0, -1], rtol=1e-5, atol=1e-6)


def test_the_states_of_a_prefix_are_those_of_the_prefix_alone_read_whole(bert, batch):
    ids_BL, mask_BL = batch
    hidden_BLD = states(bert, ids_BL, mask_BL, PREFIX, torch.tensor([4, 2]))
    for row, prefix in ((0, 4), (1, 2)):
        alone_BL = ids_BL[row : row + 1, :prefix]
        alone_BLD = states(bert, alone_BL, torch.ones_like(alone_BL, dtype=torch.bool))
        torch.testing.assert_close(hidden_BLD[row, :prefix], alone_BLD[0], rtol=1e-5, atol=1e-6)


def test_the_whole_text_as_prefix_is_bidirectional(bert, batch):
    ids_BL, mask_BL = batch
    prefixed = states(bert, ids_BL, mask_BL, PREFIX, torch.tensor([7, 5]))
    torch.testing.assert_close(
        prefixed[mask_BL], states(bert, ids_BL, mask_BL)[mask_BL], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["BertModel", "RobertaModel", "ElectraModel"])
def test_encoders_that_keep_to_the_patterns_are_taken(kind):
    check_attention(encoder(kind), AttentionPattern)


class Ignores(torch.nn.Module):
    """Sees what the 2-D mask would say, whatever it is given."""

    def __init__(self, inner, seen):
        super().__init__()
        self.inner, self.config, self._seen = inner, inner.config, seen

    def get_input_embeddings(self):
        return self.inner.get_input_embeddings()

    def forward(self, input_ids, attention_mask):
        given = self._seen(attention_mask)
        return SimpleNamespace(
            last_hidden_state=self.inner(input_ids=input_ids, attention_mask=given).last_hidden_state
        )


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (lambda mask: mask[:, 0, -1], "token 0 sees token 1"),  # the mask of padding alone
        (lambda mask: torch.ones_like(mask[:, 0, -1]), "token 0 sees token 1"),
        (lambda mask: mask & torch.eye(mask.shape[-1], dtype=torch.bool), "token 1 does not see token 0"),
        (lambda mask: mask | (torch.arange(mask.shape[-1]) == mask.shape[-1] - 1), "token 0 sees token 5"),
    ],
    ids=["bidirectional", "no mask", "itself alone", "padding"],
)
def test_encoders_that_do_not_are_refused(bert, seen, message):
    check_attention(Ignores(bert, seen), [BIDIRECTIONAL])
    with pytest.raises(SpecError, match=message):
        check_attention(Ignores(bert, seen), [CAUSAL])


def test_one_that_fails_on_the_mask_is_refused_with_what_it_said():
    with pytest.raises(SpecError, match="prefix attention: tried on a short text, The size of tensor"):
        check_attention(encoder("DebertaV2Model"), [PREFIX])


def test_one_whose_attention_adds_the_mask_to_its_scores_is_refused(bert):
    bert.set_attn_implementation("eager")
    try:
        with pytest.raises(SpecError, match="cannot run an objective of prefix attention"):
            check_attention(bert, [PREFIX])
    finally:
        bert.set_attn_implementation("sdpa")
