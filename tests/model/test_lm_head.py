"""The language-model head of a checkpoint: its logits are those of the library's own model."""

import pytest
import torch
from sslm_heads.lm import LanguageModelHead
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from sslm_platform.model.lm_head import pretrained_lm_head
from sslm_platform.spec.schema import EncoderSpec
from sslm_platform.types import HeadContext

SIZES = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 20,
}
SMALL = {"vocab_size": 30, "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
IDS = torch.tensor([[2, 7, 8, 9, 3]])


def made(kind, config):
    torch.manual_seed(0)
    model = kind(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (BertForMaskedLM, BertConfig(**SIZES)),
        (RobertaForMaskedLM, RobertaConfig(**SIZES, layer_norm_eps=1e-5)),
        (DistilBertForMaskedLM, DistilBertConfig(**SMALL)),
    ],
)
def test_logits_are_those_of_the_whole_model(kind, config, tmp_path):
    model = made(kind, config)
    model.save_pretrained(tmp_path)
    backbone = model.base_model
    head = pretrained_lm_head(EncoderSpec(path=str(tmp_path)), backbone)
    eps = getattr(config, "layer_norm_eps", 1e-12)
    ours = LanguageModelHead(HeadContext(8, 30, (), lm_head=head, norm_eps=eps))
    with torch.no_grad():
        hidden = backbone(IDS).last_hidden_state[0]
        found = ours(ours.transform(hidden) @ backbone.get_input_embeddings().weight.T)
        assert torch.allclose(found, model(IDS).logits[0], atol=1e-5)


@pytest.mark.parametrize("change", ["untied", "activation", "no head"])
def test_a_head_of_another_form_is_not_taken(change, tmp_path):
    model = made(BertForMaskedLM, BertConfig(**SIZES, tie_word_embeddings=change != "untied"))
    if change == "activation":
        model.config.hidden_act = "relu"
    (model.bert if change == "no head" else model).save_pretrained(tmp_path)
    assert pretrained_lm_head(EncoderSpec(path=str(tmp_path)), model.bert) is None
