import copy
import math

import pytest
import torch
from torch import nn

from sslm_platform.engine.factory import make_engine
from sslm_platform.errors import RunError, SpecError
from sslm_platform.spec.schema import EngineSpec, OptimizerSpec


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.dense = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)

    def forward(self, input_ids_BL, mask_BL, segment_BL=None, transform=None, shift_BLE=None):
        hidden_BLD = torch.tanh(self.dense(self.embedding(input_ids_BL)))
        if transform is None:
            return hidden_BLD, None
        return hidden_BLD, nn.functional.linear(transform(hidden_BLD), self.embedding.weight)


HERE = "cuda" if torch.cuda.is_available() else "cpu"  # what engines take
IDS_BL = torch.tensor([[1, 2, 3], [4, 5, 6]], device=HERE)


def build(optimizer=None, spec=None, encoder=None):
    torch.manual_seed(0)
    heads = {"a": nn.Linear(4, 2), "b": nn.Linear(4, 3)}
    return make_engine(
        spec or EngineSpec(threads=1), optimizer or OptimizerSpec(clip=None), encoder or Encoder(), heads
    )


def loss_of(engine, head, scale=1.0):
    hidden_BLD, _ = engine.encoder(IDS_BL, torch.ones_like(IDS_BL), None, None)
    return engine.heads[head](hidden_BLD).square().sum() * scale


def step(engine, *heads, rate=1.0, scale=1.0):
    for head in heads:
        engine.backward(loss_of(engine, head, scale))
    return engine.step(set(heads), rate)


def test_backwards_add_up():
    one, two = build(), build()
    norms = step(one, "a", "b")
    two.backward(loss_of(two, "a") + loss_of(two, "b"))
    assert norms == pytest.approx(two.step({"a", "b"}, 1.0))
    for name, weight in one.encoder_state().items():
        torch.testing.assert_close(weight, two.encoder_state()[name])


def test_an_idle_head_keeps_its_bits_and_drops_stray_gradients():
    engine = build()
    step(engine, "a", "b")
    before, moments = engine.head_states()["b"], engine.optimizer_state()
    engine.backward(loss_of(engine, "a") + loss_of(engine, "b"))
    engine.step({"a"}, 1.0)
    assert all(torch.equal(t, before[n]) for n, t in engine.head_states()["b"].items())
    after = engine.optimizer_state()
    idle = [name for name in moments if name.startswith("heads/b/")]
    assert len(idle) == 5
    assert all(torch.equal(after[name], moments[name]) for name in idle)
    assert all(p.grad is None for p in engine.heads["b"].parameters())


def test_each_part_is_clipped_by_its_own_norm():
    clip = 0.1
    engine, oracle = build(OptimizerSpec(clip=clip)), build()
    loss = loss_of(oracle, "a")
    parts = {"encoder": list(oracle.encoder.parameters()), "a": list(oracle.heads["a"].parameters())}
    loss.backward()
    expected = {
        name: torch.cat([p.grad.flatten() for p in part if p.grad is not None]).norm().item()
        for name, part in parts.items()
    }
    assert step(engine, "a") == pytest.approx(expected)
    # After the first step the first moment is (1 - beta1) times the clipped gradient.
    moments = engine.optimizer_state()
    for part in ("encoder", "heads/a"):
        clipped = [t.flatten() for n, t in moments.items() if n.startswith(f"{part}/exp_avg/")]
        assert torch.cat(clipped).norm().item() / 0.1 == pytest.approx(clip, rel=1e-4)


def test_a_parameter_without_a_gradient_has_gradient_zero():
    engine = build(OptimizerSpec(clip=None, weight_decay=0.5, lr=0.1))
    before = engine.encoder_state()["unused.weight"]
    step(engine, "a")
    torch.testing.assert_close(engine.encoder_state()["unused.weight"], before * (1 - 0.5 * 0.1))


def test_heads_have_a_rate_of_their_own():
    engine = build(OptimizerSpec(lr=1e-3, head_lr=1e-2, weight_decay=0.0, clip=None))
    encoder, heads = engine.encoder_state(), engine.head_states()
    step(engine, "a", rate=0.5)
    # Adam's first update is the rate, whatever the gradient's size.
    moved = (engine.encoder_state()["dense.bias"] - encoder["dense.bias"]).abs()
    assert moved.tolist() == pytest.approx([0.5e-3] * 4, rel=1e-3)
    moved = (engine.head_states()["a"]["bias"] - heads["a"]["bias"]).abs()
    assert moved.tolist() == pytest.approx([0.5e-2] * 2, rel=1e-3)


def test_states_are_copies_and_going_on_from_them_gives_the_same_bits():
    engine = build()
    step(engine, "a", "b")
    weights, heads, moments = engine.encoder_state(), engine.head_states(), engine.optimizer_state()
    kept = copy.deepcopy(weights)
    step(engine, "a")
    assert all(torch.equal(weights[name], kept[name]) for name in kept)
    resumed = build()
    step(resumed, "b")
    resumed.load_weights(weights, heads)
    resumed.load_optimizer_state(moments)
    step(resumed, "a")
    for name, tensor in engine.encoder_state().items():
        assert torch.equal(tensor, resumed.encoder_state()[name]), name
    for name, tensor in engine.optimizer_state().items():
        assert torch.equal(tensor, resumed.optimizer_state()[name]), name


def test_a_part_that_never_stepped_has_no_state_and_loading_that_resets_it():
    engine = build()
    step(engine, "a")
    moments = engine.optimizer_state()
    assert not [name for name in moments if name.startswith("heads/b/")]
    step(engine, "b")
    engine.load_optimizer_state(moments)
    assert engine.optimizer_state().keys() == moments.keys()


def test_a_frozen_encoder_leaves_only_heads_to_train():
    engine = build(encoder=Encoder().requires_grad_(False))
    before = engine.encoder_state()
    assert step(engine, "a")["encoder"] == 0.0
    assert all(torch.equal(t, before[n]) for n, t in engine.encoder_state().items())


def test_foreign_weights_are_refused_by_name_and_shape():
    engine = build()
    weights, heads = engine.encoder_state(), engine.head_states()
    renamed = {name.replace("dense", "dence"): t for name, t in weights.items()}
    with pytest.raises(RunError, match=r"missing 'dense.bias'.*\n.*\n.*unknown 'dence.bias'; did you mean"):
        engine.load_weights(renamed, heads)
    with pytest.raises(RunError, match=r"heads/a: bias: shape \(3,\); this model's is \(2,\)"):
        engine.load_weights(weights, heads | {"a": heads["a"] | {"bias": torch.zeros(3)}})
    with pytest.raises(RunError, match=r"heads: missing 'b'"):
        engine.load_weights(weights, {"a": heads["a"]})


def test_a_state_of_another_model_is_refused():
    engine = build()
    step(engine, "a")
    state = engine.optimizer_state()
    del state["encoder/exp_avg/dense.bias"]
    with pytest.raises(RunError, match=r"encoder/exp_avg/dense.bias.*missing"):
        engine.load_optimizer_state(state)


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(scale):
    engine = build()
    step(engine, "a", "b")
    before, heads, moments = engine.encoder_state(), engine.head_states(), engine.optimizer_state()
    for head in ("a", "b"):
        engine.backward(loss_of(engine, head, scale if head == "a" else 1.0))
    norms = engine.step({"a", "b"}, 1.0)
    assert {name: math.isfinite(norm) for name, norm in norms.items()} == {
        "encoder": False,
        "a": False,
        "b": True,
    }
    for name, tensor in (engine.encoder_state() | engine.optimizer_state()).items():
        assert torch.equal(tensor, (before | moments)[name]), name
    for head, state in engine.head_states().items():
        assert all(torch.equal(tensor, heads[head][name]) for name, tensor in state.items())
    assert all(p.grad is None for module in engine.heads.values() for p in module.parameters())


def test_bf16_shows_heads_and_transforms_fp32():
    engine = build(spec=EngineSpec(precision="bf16", threads=1))
    seen = []

    def transform(hidden_BLD):
        seen.append(hidden_BLD.dtype)
        return engine.heads["b"].weight.new_ones(2, 4) * hidden_BLD[:, 0]

    hidden_BLD, logits_NV = engine.encoder(IDS_BL, torch.ones_like(IDS_BL), None, transform)
    assert (hidden_BLD.dtype, logits_NV.dtype, seen) == (torch.float32, torch.float32, [torch.float32])
    exact_BLD, _ = build().encoder(IDS_BL, torch.ones_like(IDS_BL), None, None)
    assert not torch.equal(hidden_BLD, exact_BLD)
    torch.testing.assert_close(hidden_BLD, exact_BLD, atol=2e-2, rtol=0)
    assert {t.dtype for t in engine.encoder_state().values()} == {torch.float32}


def test_objects_come_back_as_json_carries_them():
    assert build().all_gather_objects({"a": (1, 2.5, None)}) == [{"a": [1, 2.5, None]}]


def test_several_processes_need_deepspeed(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SpecError, match=r"set engine\.name: deepspeed"):
        build()
