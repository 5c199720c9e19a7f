"""DeepSpeed on two ranks computes what plain torch computes on one, and keeps still what is idle.

One pair of processes runs all cases, since starting one costs more than the cases do.
"""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.distributed

SCENARIO = Path(__file__).with_name("scenario.py")
FP32 = ("zero0", "zero1", "zero2", "zero3-all", "zero2-offload", "zero3-offload")
BF16 = ("zero1-bf16", "zero3-bf16")
HALF = 4
CROSSED = ("zero0:zero3-all", "zero3-all:local")
DIVERGING = ("zero0", "zero2", "zero3-offload", "zero1-bf16")
CLOSED = ("zero2", "zero3-all")

# Softmax does not see a bias of its keys: the gradient is zero but for rounding, which Adam magnifies.
NO_GRADIENT = "attention.self.key.bias"


@pytest.fixture(scope="module")
def results(tmp_path_factory, start):
    folder = tmp_path_factory.mktemp("parity")
    start(1, SCENARIO, folder, "local", "diverge:local")
    others = [f"diverge:{name}" for name in DIVERGING] + [f"close:{name}" for name in CLOSED]
    start(2, SCENARIO, folder, *FP32, *BF16, *CROSSED, *others)
    return folder


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("variant", FP32)
def test_losses_and_norms_are_those_of_plain_torch(results, variant):
    ours, local = read(results, variant), read(results, "local")
    assert ours["world_size"] == 2
    assert ours["losses"] == pytest.approx(local["losses"], abs=1e-5)
    for step, (norms, expected) in enumerate(zip(ours["norms"], local["norms"], strict=True)):
        assert norms == pytest.approx(expected, rel=1e-4), f"step {step}"


@pytest.mark.parametrize("variant", FP32)
def test_weights_and_moments_are_those_of_plain_torch(results, variant):
    for kind in ("safetensors", "optimizer.safetensors"):
        ours, local = load_file(results / f"{variant}.{kind}"), load_file(results / f"local.{kind}")
        assert ours.keys() == local.keys()
        for name, tensor in ours.items():
            if NO_GRADIENT not in name:
                assert tensor.shape == local[name].shape
                assert tensor.norm().item() == pytest.approx(local[name].norm().item(), rel=1e-4), name


def test_the_scenario_clips(results):
    norms = [norm for step in read(results, "local")["norms"] for norm in step.values()]
    assert min(norms) < 0.5 < max(norms)


@pytest.mark.parametrize("variant", ["local", *FP32, *BF16])
def test_idle_heads_and_their_moments_stay_put(results, variant):
    assert read(results, variant)["moved"] == []


@pytest.mark.parametrize("variant", [*FP32, *BF16])
def test_one_rank_keeps_what_is_saved(results, variant):
    first, other = read(results, variant)["num_kept"]
    assert min(first) > 0
    assert other == [0, 0, 0]


@pytest.mark.parametrize("variant", CLOSED)
def test_a_closed_engine_keeps_no_tensors(results, variant):
    sizes = read(results, f"{variant}-closed")
    one_weight = 97 * 15 * 4  # bytes of the embeddings, of which an engine has copies
    assert sizes[-1] - sizes[0] < one_weight


@pytest.mark.parametrize("variant", ["local", *FP32, *BF16])
def test_going_back_to_earlier_weights_is_exact(results, variant):
    result = read(results, variant)
    assert result["back_hidden_equal"]
    assert result["back_differs"] == []


@pytest.mark.parametrize("variant", ["local", *FP32, *BF16])
def test_resuming_gives_the_same_bits(results, variant):
    result = read(results, variant)
    assert result["loaded_differs"] == []
    assert result["resumed_losses"] == result["losses"][-len(result["resumed_losses"]) :]
    assert result["resumed_differs"] == []


@pytest.mark.parametrize("case", CROSSED)
def test_any_engine_goes_on_from_any_other(results, case):
    local = read(results, "local")["losses"]
    losses = read(results, case.replace(":", "-from-"))["losses"]
    assert losses == pytest.approx(local[-len(losses) :], abs=1e-5)


@pytest.mark.parametrize("variant", ["local", *FP32, *BF16])
def test_weights_are_those_that_were_given_before_the_first_step(results, variant):
    assert read(results, variant)["started_differs"] == []


@pytest.mark.parametrize("variant", BF16)
def test_bf16_follows_fp32_within_its_precision(results, variant):
    ours, local = read(results, variant), read(results, "local")
    assert ours["losses"] == pytest.approx(local["losses"], rel=2e-2)
    assert ours["losses"] != local["losses"]
    weights = load_file(results / f"{variant}.safetensors")
    rounded = {name for name, tensor in weights.items() if (tensor.bfloat16().float() == tensor).all()}
    assert not {name for name in rounded if name.endswith("weight")}, "fp32 masters were not saved"


@pytest.mark.parametrize("variant", ["local", *DIVERGING])
def test_a_gradient_that_is_not_finite_moves_nothing_and_all_ranks_are_told_whose_it_was(results, variant):
    found = read(results, f"{variant}-diverges")
    expected = {
        "shared, loss, 1": {"encoder": False, "shared": False},
        "shared, encoder, 1": {"encoder": False, "shared": True},
        "shared, head, 1": {"encoder": True, "shared": False},
        "shared, head, 0": {"encoder": True, "shared": False},
        "decoder, encoder, 1": {"encoder": False, "decoder": True},
        "decoder, head, 2": {"encoder": True, "decoder": False},
    }
    assert found.keys() == expected.keys()
    for part, finite in expected.items():
        assert found[part]["finite"] == [finite] * len(found[part]["finite"]), part
        assert found[part]["moved"] == [], part
        assert found[part]["losses"] == read(results, variant)["losses"][:HALF], part
