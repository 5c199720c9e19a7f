"""Encoder-decoders of transformers, cut in two: what the parts compute is what the whole does."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sslm_generation.options import PretrainedDecoderOptions
from sslm_generation.pretrained import PretrainedDecoder
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from sslm_platform.api import HeadContext, SpecError
from sslm_platform.testing import parametrize_with_checks

WORDS = [f"▁w{i}" for i in range(37)]
TOKENS = ["<pad>", "</s>", "<unk>", "<s>", *WORDS, "<extra_id_0>", "<extra_id_1>", "▁x"]
SIZE = len(TOKENS)


def tokenizer():
    made = Tokenizer(models.WordLevel({token: i for i, token in enumerate(TOKENS)}, unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )


def tiny(name, width=8, scale=3.0):
    """Random weights, large enough that texts differ."""
    torch.manual_seed(5)
    model = random(name, width)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter.ndim > 1:  # no sinusoids
                # what is read decides, and not only the tokens before
                parameter.mul_(scale * (20 if "encoder_attn" in name and scale > 1 else 1))
    return model


def random(name, width):
    if name == "t5":
        config = T5Config(
            vocab_size=SIZE, d_model=width, d_kv=4, d_ff=16, num_layers=2, num_decoder_layers=2, num_heads=2,
            decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, initializer_factor=1.0,
        )  # fmt: skip
        return T5ForConditionalGeneration(config)
    kind, config = (
        (BartForConditionalGeneration, BartConfig) if name == "bart" else (MarianMTModel, MarianConfig)
    )
    made = kind(
        config(
            vocab_size=SIZE,
            d_model=width,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=3,
            eos_token_id=1,
            decoder_start_token_id=1,
            init_std=0.1,
            forced_eos_token_id=None,
            forced_bos_token_id=3 if name == "bart" else None,
        )
    )
    made.final_logits_bias.normal_()
    return made


def saved(folder, name, width=8, scale=3.0):
    model = tiny(name, width, scale).eval()
    model.generation_config.forced_eos_token_id = None
    model.generation_config.forced_bos_token_id = 3 if name == "bart" else None
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return model


CHECKED = Path(tempfile.mkdtemp()) / "bart"
saved(CHECKED, "bart", scale=1.0)


@parametrize_with_checks("pretrained_decoder", options={"path": str(CHECKED), "decoding": {"max_length": 12}})
def test_conformance(check):
    check()


@pytest.fixture(params=["t5", "bart", "marian"])
def whole(request, tmp_path):
    return saved(tmp_path / request.param, request.param), tmp_path / request.param


def parts(folder, **options):
    from sslm_platform.model.backbone import load_backbone, load_tokenizer
    from sslm_platform.model.encoder import SharedEncoder
    from sslm_platform.model.target_tokenizer import TargetCodec
    from sslm_platform.spec.schema import EncoderSpec

    spec = EncoderSpec(path=str(folder), max_length=32)
    tokens = load_tokenizer(spec)
    encoder = SharedEncoder(load_backbone(spec, tokens, 0)).eval()
    codec = TargetCodec(tokens, is_own=False)
    context = HeadContext(encoder.hidden_size, SIZE, (), codec)
    return encoder, PretrainedDecoder(PretrainedDecoderOptions(path=str(folder), **options), context).eval()


def inputs():
    generator = torch.Generator().manual_seed(2)
    mask_BL = torch.tensor([[1] * n + [0] * (9 - n) for n in (9, 4, 6, 1)])
    return torch.randint(4, 40, (4, 9), generator=generator) * mask_BL, mask_BL


def test_logits_are_those_of_the_whole_model(whole):
    model, folder = whole
    encoder, head = parts(folder)
    ids_BL, mask_BL = inputs()
    labels = [[5, 6, 7, 1], [9, 1], [1], [11, 12, 13, 14, 15, 1]]
    start = head.start
    before = torch.zeros(4, 8, dtype=torch.int64)
    for row, text in zip(before, labels, strict=True):
        row[: len(start) + len(text) - 1] = torch.tensor([*start, *text[:-1]])
    with torch.no_grad():
        expected_BTV = model(input_ids=ids_BL, attention_mask=mask_BL, decoder_input_ids=before).logits
        hidden_BLD, _ = encoder(ids_BL, mask_BL.bool())
        rows = [(i, p, token) for i, text in enumerate(labels) for p, token in enumerate(text)]
        example_N, position_N, labels_N = torch.tensor(rows).T
        targets = {"labels": labels_N, "example": example_N, "position": position_N}
        logits_NV = head(head.features(hidden_BLD, mask_BL, targets))
    expected_NV = expected_BTV[example_N, position_N + len(start) - 1]
    torch.testing.assert_close(logits_NV, expected_NV, atol=1e-5, rtol=1e-5)
    assert logits_NV.std() > 0.1


def test_texts_are_those_of_generate(whole):
    model, folder = whole
    encoder, head = parts(folder, decoding={"max_length": 9})
    ids_BL, mask_BL = inputs()
    with torch.no_grad():
        hidden_BLD, _ = encoder(ids_BL, mask_BL.bool())
        texts = head.generate(hidden_BLD, mask_BL.bool(), [np.random.default_rng(0)] * 4, lambda more: more)
        found = model.generate(
            input_ids=ids_BL,
            attention_mask=mask_BL,
            max_new_tokens=9 + len(head.start) - 1,
            do_sample=False,
            bad_words_ids=[[0]],
        )
    expected = tokenizer().batch_decode(found[:, len(head.start) :], skip_special_tokens=True)
    assert texts == [text.strip() for text in expected]
    assert len(set(texts)) > 1


def test_a_head_is_built_again_from_what_it_says_of_itself(whole, tmp_path):
    from safetensors.torch import load, save

    _, folder = whole
    _, head = parts(folder)
    state = load(save({name: value.contiguous() for name, value in head.state_dict().items()}))
    assert len(state) == len({id(p) for p in head.parameters()}) + len(list(head.buffers()))
    context = HeadContext(8, SIZE, (), head.tokenizer, head.facts)
    again = PretrainedDecoder(PretrainedDecoderOptions(path="nowhere"), context).eval()
    again.load_state_dict(state)
    assert again.start == head.start
    _, mask_BL = inputs()
    hidden_BLD = torch.randn(4, 9, 8)
    with torch.no_grad():
        texts = [
            one.generate(hidden_BLD, mask_BL.bool(), [np.random.default_rng(0)] * 4, lambda more: more)
            for one in (head, again)
        ]
    assert texts[0] == texts[1]


def test_the_encoder_is_saved_and_read_without_its_decoder(whole, tmp_path):
    from sslm_platform.model.backbone import load_backbone
    from sslm_platform.model.encoder import SharedEncoder
    from sslm_platform.model.store import save_model
    from sslm_platform.spec.schema import EncoderSpec

    _, folder = whole
    encoder, _ = parts(folder)
    weights = {name: value + 0.1 for name, value in encoder.state_dict().items()}
    save_model(tmp_path / "model", encoder.backbone, tokenizer(), weights, {})
    spec = EncoderSpec(path=str(tmp_path / "model" / "encoder"), max_length=32)
    again = SharedEncoder(load_backbone(spec, tokenizer(), 0))
    assert again.state_dict().keys() == weights.keys()
    assert all(torch.equal(again.state_dict()[name], value) for name, value in weights.items())


def test_no_text_is_longer_than_the_decoder_has_places(tmp_path):
    saved(tmp_path, "bart")
    encoder, head = parts(tmp_path, decoding={"max_length": 500})
    ids_BL, mask_BL = inputs()
    with torch.no_grad():
        hidden_BLD, _ = encoder(ids_BL, mask_BL.bool())
        texts = head.generate(hidden_BLD, mask_BL.bool(), [np.random.default_rng(0)] * 4, lambda more: more)
        assert max(len(text.split()) for text in texts) <= 63
        labels = {
            "labels": torch.full((70,), 5),
            "example": torch.zeros(70).long(),
            "position": torch.arange(70),
        }
        with pytest.raises(
            SpecError, match=r"max_target_length: a target of 71 tokens, .* writes 64 at most"
        ):
            head.features(hidden_BLD, mask_BL, labels)


def test_it_stays_whole_and_is_known_by_its_weights(tmp_path):
    from sslm_generation import sslm_heads

    definition = {head.name: head for head in sslm_heads()}["pretrained_decoder"]
    assert definition.whole
    read = []
    for scale in (3.0, 2.0):
        saved(tmp_path, "bart", scale=scale)
        read.append(definition.reads(PretrainedDecoderOptions(path=str(tmp_path))))
    names = {"path/config.json", "path/generation_config.json", "path/model.safetensors"}
    assert read[0].keys() == read[1].keys() == names
    assert read[0]["path/config.json"] == read[1]["path/config.json"]
    assert read[0]["path/model.safetensors"] != read[1]["path/model.safetensors"]
    assert definition.reads(PretrainedDecoderOptions(path="a/hub-name")) == {}


def test_a_pretrained_tokenizer_is_saved_with_its_head(tmp_path):
    from sslm_platform.model.target_tokenizer import pretrained_codec, saved_codec

    tokenizer().save_pretrained(tmp_path)
    codec = pretrained_codec(str(tmp_path))
    again = saved_codec(codec.content)
    assert again.content == codec.content
    ids = codec.encode(["w3 w7 x", "w1"])
    assert ids == [[7, 11, SIZE - 1], [5]]
    assert again.encode(["w3 w7 x"]) == ids[:1]
    assert again.decode(ids) == codec.decode(ids) == ["w3 w7 x", "w1"]
    marks = [(one.size, one.pad_id, one.start_id, one.end_id) for one in (codec, again)]
    assert marks == [(SIZE, 0, 0, 1)] * 2


def test_what_does_not_fit_is_refused(tmp_path):
    saved(tmp_path / "wide", "bart", width=16)
    from sslm_platform.testing import data

    context = HeadContext(8, SIZE, (), data.TOKENIZER)
    with pytest.raises(SpecError, match="reads states of width 16, the encoder's have 8"):
        PretrainedDecoder(PretrainedDecoderOptions(path=str(tmp_path / "wide")), context)
    with pytest.raises(SpecError, match="not a folder or reachable hub name with an encoder-decoder"):
        PretrainedDecoder(PretrainedDecoderOptions(path=str(tmp_path / "none")), context)
