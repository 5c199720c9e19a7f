"""Trunk and slice of encoders of many kinds: together they are the encoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from sslm_platform.errors import SpecError
from sslm_platform.model.encoder import SharedEncoder

SIZES = {
    "vocab_size": 61,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
# kind, more of its config, the slice's first layer and what follows it, what it takes beside the states
ENCODERS = {
    "bert": ({}, ["encoder.layer.2"], []),
    "roberta": ({}, ["encoder.layer.2"], []),
    "distilbert": ({"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24}, ["transformer.layer.2"], []),
    "mpnet": ({}, ["encoder.layer.2"], ["2"]),  # position biases that all layers share
    "modernbert": (
        {"global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1,
         "eos_token_id": 2},
        ["layers.2", "final_norm"], [],
    ),
    "deberta-v2": (DISENTANGLED | {"position_buckets": 8}, ["encoder.layer.2"], ["rel_embeddings"]),
    "gpt2": ({"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 40, "bos_token_id": 1,
              "eos_token_id": 2}, ["h.2", "ln_f"], []),
}  # fmt: skip


def build(kind, **more):
    torch.manual_seed(0)
    backbone = AutoModel.from_config(AutoConfig.for_model(kind, **(SIZES | more)))
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_("pooler" not in name)
    return SharedEncoder(backbone).train()


def gradients(encoder, forward):
    """Return states, logits, and all gradients of a loss of both; dropout is on."""
    torch.manual_seed(1)
    ids_BL = torch.randint(3, 61, (3, 7))
    mask_BL = torch.ones_like(ids_BL)
    mask_BL[1, 4:] = 0
    mixing = nn.Linear(16, 16)
    hidden_BLD, logits_NV = forward(ids_BL, mask_BL, lambda hidden_BLD: mixing(hidden_BLD[:, 1]))
    encoder.zero_grad()
    (hidden_BLD.square().mean() + logits_NV.logsumexp(-1).sum()).backward()
    return hidden_BLD, logits_NV, {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}


def test_trunk_and_slice_see_as_much_as_the_encoder():
    encoder = build("bert").eval()
    trunk, top = encoder.split()
    ids_BL = torch.randint(3, 61, (2, 6))
    visible_B1LL = torch.ones(2, 1, 6, 6, dtype=torch.bool).tril()
    hidden_BLD, _ = encoder(ids_BL, visible_B1LL)
    assert torch.equal(top(trunk(ids_BL, visible_B1LL))[0], hidden_BLD)
    assert not torch.allclose(encoder(ids_BL, torch.ones_like(ids_BL))[0], hidden_BLD, atol=1e-3)


@pytest.mark.parametrize("kind", ENCODERS)
def test_trunk_and_slice_are_the_encoder(kind):
    more, parts, beside = ENCODERS[kind]
    encoder = build(kind, **more)
    before = encoder.state_dict().keys()
    trunk, top = encoder.split()
    hidden_BLD, logits_NV, expected = gradients(encoder, lambda i, m, t: encoder(i, m, None, t))
    found_BLD, found_NV, found = gradients(encoder, lambda i, m, t: top(trunk(i, m, None, True), t))
    assert torch.equal(found_BLD, hidden_BLD)
    assert torch.equal(found_NV, logits_NV)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)
    own = [name for name in before if name.startswith(tuple(f"backbone.{part}." for part in parts))]
    assert sorted(top.state_dict()) == sorted(own)
    assert encoder.state_dict().keys() == before
    trained = {n for n, p in encoder.named_parameters() if p.requires_grad}
    assert {n for m in (trunk, top) for n, p in m.named_parameters() if p.requires_grad} == trained
    ids_BL = torch.tensor([[3, 4]])
    inputs = trunk(ids_BL, torch.ones_like(ids_BL))
    differentiable = [n for n, v in inputs.items() if isinstance(v, torch.Tensor) and v.requires_grad]
    assert differentiable[1:] == beside


def test_the_slice_reads_nothing_but_what_the_trunk_hands_it():
    """Cut there, no gradient gets past: what would be missed is among the inputs."""
    encoder = build("mpnet")
    trunk, top = encoder.split()
    ids_BL = torch.tensor([[3, 4, 5]])
    inputs = trunk(ids_BL, torch.ones_like(ids_BL), None, True)
    cut = {n: v.detach() if isinstance(v, torch.Tensor) else v for n, v in inputs.items()}
    hidden_BLD, logits_NV = top(cut, lambda hidden_BLD: hidden_BLD[:, 0])
    (hidden_BLD.sum() + logits_NV.square().sum()).backward()
    assert {n for n, p in encoder.named_parameters() if p.grad is not None} <= {
        n for n, _ in top.named_parameters()
    }


def test_what_is_added_to_the_trunk_is_not_the_encoders():
    encoder = build("bert")
    trunk, _ = encoder.split()
    calls = []
    trunk.backbone.register_forward_hook(lambda *a: calls.append("trunk"))
    trunk.backbone.encoder.register_forward_hook(lambda *a: calls.append("trunk"))
    ids_BL = torch.tensor([[3, 4]])
    encoder(ids_BL, torch.ones_like(ids_BL))
    assert calls == []
    assert len(encoder.backbone.encoder.layer) == 3
    trunk.eval()  # of modules above the layer the trunk has its own, of all others the encoder's
    assert encoder.backbone.encoder.training
    assert not encoder.backbone.embeddings.training


def test_splitting_leaves_modes_and_chance_alone():
    encoder = build("bert")
    encoder.backbone.embeddings.eval()
    modes, chance = [m.training for m in encoder.modules()], torch.get_rng_state()
    trunk, top = encoder.split()
    assert [m.training for m in encoder.modules()] == modes
    assert torch.equal(torch.get_rng_state(), chance)
    assert trunk.training
    assert top.training


class Backbone(nn.Module):
    """Ends as its kind says."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.config = type("Config", (), {"hidden_size": 4})
        self.words = nn.Embedding(9, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        if kind == "tied":
            self.layers[1].weight = self.layers[0].weight

    def get_input_embeddings(self):
        return self.words

    def forward(self, input_ids, attention_mask):
        first_BLD = self.layers[0](self.words(input_ids))
        second_BLD = self.layers[1](first_BLD)
        if self.kind == "residual":
            second_BLD = second_BLD + first_BLD
        if self.kind == "twice":
            second_BLD = self.layers[1](second_BLD)
        return type("Output", (), {"last_hidden_state": second_BLD})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("residual", "Backbone is not its last layer after the others"),
        ("twice", r"calls its last layer layers\.1 2 times in one pass"),
        ("tied", "shares its last layer's parameters with other layers"),
    ],
)
def test_an_encoder_that_ends_otherwise_is_refused(kind, message):
    with pytest.raises(SpecError, match=f"balancer.scope: last_layer: .*{message}; set balancer.scope: all"):
        SharedEncoder(Backbone(kind)).split()


def test_layers_that_are_one_and_the_same_are_refused():
    with pytest.raises(SpecError, match=r"calls its last layer .* 3 times"):
        build("albert", embedding_size=8).split()
