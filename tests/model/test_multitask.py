"""Many heads on one encoder call."""

from __future__ import annotations

import pytest
import torch

from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.model.multitask import TaskHead, build_head, task_outputs
from sslm_platform.plugins import host
from sslm_platform.spec.resolved import Bound
from sslm_platform.types import HeadContext, Provenance

SHAPE = (3, 7)
VOCABULARY = 23


@pytest.fixture(scope="module")
def encoder():
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    return SharedEncoder(BertModel(config)).eval()


def head(name, seed, labels=("a", "b"), **options):
    definition = host().registry.heads.get(name).definition
    bound = Bound(definition, definition.options(**options), Provenance("p", "d", "1"))
    context = HeadContext(16, VOCABULARY, labels)
    return TaskHead(build_head(bound, context, seed).eval(), definition.tied)


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    ids_BL = torch.randint(5, VOCABULARY, SHAPE)
    mask_BL = torch.ones(SHAPE, dtype=torch.bool)
    mask_BL[1, 5:] = False
    return {"input_ids_BL": ids_BL, "mask_BL": mask_BL, "segment_BL": None}


def targets(*pairs):
    example, position = zip(*pairs, strict=True)
    return {
        "example": torch.tensor(example),
        "row": torch.tensor(example),
        "position": torch.tensor(position),
    }


def test_several_tied_heads_get_their_own_rows_of_the_embedding_product(encoder, inputs):
    heads = {"first": head("lm", 1), "second": head("lm", 2), "third": head("sequence_classifier", 3)}
    wanted = {"first": targets((0, 1), (2, 3)), "second": targets((1, 1), (1, 4), (2, 0)), "third": {}}
    with torch.no_grad():
        outputs = task_outputs(encoder, heads, inputs, wanted)
        hidden_BLD = encoder(inputs["input_ids_BL"], inputs["mask_BL"])[0]
        embedding_VD = encoder.backbone.get_input_embeddings().weight
        for name in ("first", "second"):
            module, given = heads[name].module, wanted[name]
            states_ND = module.transform(hidden_BLD[given["example"], given["position"]])
            expected_NV = module(states_ND @ embedding_VD.T)
            assert outputs[name].shape == (len(given["example"]), VOCABULARY)
            torch.testing.assert_close(outputs[name], expected_NV)
    assert outputs["third"].shape == (3, 2)
    assert not torch.allclose(outputs["first"][0], outputs["second"][0])


def test_the_encoder_is_called_once_for_all_heads(encoder, inputs):
    calls = []

    def counting(*args):
        calls.append(args)
        return encoder(*args)

    heads = {"a": head("lm", 1), "b": head("sequence_classifier", 2), "c": head("sequence_regressor", 3)}
    with torch.no_grad():
        task_outputs(counting, heads, inputs, {"a": targets((0, 1)), "b": {}, "c": {}})
    assert len(calls) == 1


def test_padding_changes_nothing(encoder, inputs):
    heads = {"a": head("sequence_classifier", 2), "b": head("lm", 1), "c": head("token_classifier", 4)}
    rows = targets((1, 1), (1, 4))
    wanted = {"a": {}, "b": rows, "c": rows}
    short = {name: value if value is None else value[1:2, :5] for name, value in inputs.items()}
    alone = {"a": {}, "b": targets((0, 1), (0, 4)), "c": targets((0, 1), (0, 4))}
    with torch.no_grad():
        padded, bare = (task_outputs(encoder, heads, i, t) for i, t in ((inputs, wanted), (short, alone)))
    torch.testing.assert_close(padded["a"][1:2], bare["a"], rtol=1e-5, atol=1e-6)
    for name in ("b", "c"):
        torch.testing.assert_close(padded[name], bare[name], rtol=1e-5, atol=1e-6)


def test_a_heads_first_weights_do_not_depend_on_what_was_built_before():
    first = head("sequence_classifier", (1, "a")).module.state_dict()
    torch.rand(5)
    head("sequence_regressor", (1, "b"))
    again = head("sequence_classifier", (1, "a")).module.state_dict()
    other = head("sequence_classifier", (2, "a")).module.state_dict()
    weight = next(name for name, value in first.items() if value.dim() == 2)
    assert torch.equal(first[weight], again[weight])
    assert not torch.equal(first[weight], other[weight])


def test_building_a_head_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    head("sequence_classifier", 1)
    assert torch.equal(torch.rand(2), expected)


def test_segments_reach_encoders_that_have_them(encoder, inputs):
    segments = dict(inputs, segment_BL=torch.ones(SHAPE, dtype=torch.int64))
    task = {"a": head("sequence_classifier", 2)}
    with torch.no_grad():
        without, with_them = (task_outputs(encoder, task, i, {"a": {}})["a"] for i in (inputs, segments))
    assert not torch.allclose(without, with_them)
