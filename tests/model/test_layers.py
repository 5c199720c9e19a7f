import pytest
import torch
import transformers
from transformers import AutoModel

from sslm_platform.errors import SpecError
from sslm_platform.model.layers import check_layers, freeze, layer_depths

SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 12,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 50,
}


def meta(kind, **config):
    with torch.device("meta"):
        return AutoModel.from_config(transformers.AutoConfig.for_model(kind, **config))


@pytest.fixture
def bert():
    return meta("bert", **SMALL)


def frozen(backbone):
    return {name for name, p in backbone.named_parameters() if not p.requires_grad}


def test_a_pattern_names_whole_modules_and_single_parameters(bert):
    freeze(bert, ["embeddings", "encoder.layer.[0-2]", "*.11.*.bias"])
    names = [name for name, _ in bert.named_parameters()]
    expected = {
        name
        for name in names
        if name.startswith(("embeddings.", "encoder.layer.0.", "encoder.layer.1.", "encoder.layer.2."))
        or (name.startswith("encoder.layer.11.") and name.endswith(".bias"))
    }
    assert frozen(bert) == expected  # 1 is neither 10 nor 11


def test_a_pattern_that_names_nothing_is_refused_with_the_nearest_name(bert):
    with pytest.raises(SpecError) as caught:
        freeze(bert, ["embeddings", "encoder.layers.3", "zzz"])
    near, far = map(str, caught.value.problems)
    assert (
        near
        == "encoder.freeze[1]: 'encoder.layers.3' names nothing in BertModel; did you mean encoder.layer.3?"
    )
    assert (
        far
        == "encoder.freeze[2]: 'zzz' names nothing in BertModel; at the top are embeddings, encoder, pooler"
    )


@pytest.mark.parametrize(
    ("backbone", "first", "last", "after"),
    [
        (
            ("bert", SMALL),
            "embeddings.word_embeddings.weight",
            "encoder.layer.11.output.dense.weight",
            "pooler.dense.bias",
        ),
        (
            ("modernbert", SMALL | {"pad_token_id": 0}),
            "embeddings.tok_embeddings.weight",
            "layers.11.mlp.Wo.weight",
            "final_norm.weight",
        ),
        (
            ("gpt2", {"n_embd": 8, "n_layer": 12, "n_head": 2, "vocab_size": 50}),
            "wpe.weight",
            "h.11.ln_1.weight",
            "ln_f.bias",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_depths_count_from_the_last_layer_and_embeddings_are_one_layer_more(backbone, first, last, after):
    kind, config = backbone
    made = meta(kind, **config)
    depths = layer_depths(made)
    assert depths.keys() == {name for name, _ in made.named_parameters()}
    assert (depths[first], depths[last], depths[after]) == (12, 0, 0)
    assert depths[last.replace("11", "3")] == 8
    assert set(depths.values()) == set(range(13))


def test_all_that_is_wrong_is_said_at_once():
    made = torch.nn.Linear(2, 2)
    with pytest.raises(SpecError) as caught:
        check_layers(made, ["wieght"], needs_layers=True)
    assert [str(problem) for problem in caught.value.problems] == [
        "encoder.freeze[0]: 'wieght' names nothing in Linear; did you mean weight?",
        "optimizer.layer_decay, optimizer.unfreeze: Linear has no list of layers to tell apart",
    ]
