"""Layers that learn more slowly or join later, decay toward the start, and averages of weights."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from sslm_platform.engine.course import phase_of
from sslm_platform.engine.factory import make_engine
from sslm_platform.spec.optimizer import AverageSpec, OptimizerSpec
from sslm_platform.spec.schema import EngineSpec

HERE = "cuda" if torch.cuda.is_available() else "cpu"  # what engines take
IDS_BL = torch.tensor([[1, 2, 3], [4, 5, 6]], device=HERE)


class Layers(nn.Module):
    """Embeddings and two layers, of depths 2, 1 and 0."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.layer = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def layer_depths(self):
        return {
            "embedding.weight": 2,
            **{f"layer.{i}.{n}": 1 - i for i in (0, 1) for n in ("weight", "bias")},
        }

    def forward(self, input_ids_BL, mask_BL, segment_BL=None, transform=None):
        hidden_BLD = self.embedding(input_ids_BL)
        for layer in self.layer:
            hidden_BLD = torch.tanh(layer(hidden_BLD))
        return hidden_BLD, None


def build(**options):
    torch.manual_seed(0)
    spec = OptimizerSpec(**{"clip": None, "weight_decay": 0.0, "lr": 0.1, **options})
    return make_engine(
        EngineSpec(threads=1), spec, Layers(), {"a": nn.Linear(4, 2), "b": nn.Linear(4, 3)}
    ), spec


def step(engine, spec, number=0, num_steps=10, heads=("a",), rate=1.0):
    engine.start_step(1, phase_of(number, num_steps, spec))
    hidden_BLD, _ = engine.encoder(IDS_BL, torch.ones_like(IDS_BL))
    engine.backward(sum(engine.heads[head](hidden_BLD).square().sum() for head in heads))
    return engine.step(set(heads), rate)


def moved(engine, before):
    after = engine.encoder_state()
    return {name: (after[name] - before[name]).abs().max().item() for name in before}


def test_each_layer_has_a_share_of_the_rate_of_the_one_above():
    """Adam's first step is the rate times the gradient's sign, whatever the gradient."""
    engine, spec = build(layer_decay=0.5, head_lr=0.3)
    before, head = engine.encoder_state(), engine.head_states()["a"]
    step(engine, spec, rate=0.8)
    expected = {name: 0.08 * 0.5**depth for name, depth in Layers().layer_depths().items()}
    assert moved(engine, before) == pytest.approx(expected, rel=1e-3)
    assert (engine.head_states()["a"]["bias"] - head["bias"]).abs().max() == pytest.approx(0.24, rel=1e-3)


def test_layers_join_one_by_one_and_stay_put_until_then():
    """Three depths over 6 of 10 steps: a layer joins in steps 2, 4 and 6; a head trains from the first on."""
    engine, spec = build(unfreeze=0.6)
    joined = {}
    for number in range(8):
        before, head = engine.encoder_state(), engine.head_states()["a"]["bias"]
        step(engine, spec, number)
        assert not torch.equal(engine.head_states()["a"]["bias"], head)
        for name, distance in moved(engine, before).items():
            if distance:
                joined.setdefault(name, number)
            assert bool(distance) == (name in joined)
    assert joined == {
        "layer.1.weight": 2, "layer.1.bias": 2, "layer.0.weight": 4, "layer.0.bias": 4, "embedding.weight": 6
    }  # fmt: skip


def test_decay_to_the_start_is_the_gradient_of_its_penalty_apart_from_the_moments():
    """With a gradient of zero only the pull is left: w - w0 shrinks by 1 - rate * decay in each step."""
    engine, spec = build(decay_to="start", weight_decay=0.5)
    start = engine.encoder_state()
    moved_away = {name: value + 1.0 for name, value in start.items()}
    engine.load_weights(moved_away, engine.head_states())
    for number in range(2):
        engine.start_step(1, phase_of(number, 10, spec))
        hidden_BLD, _ = engine.encoder(IDS_BL, torch.ones_like(IDS_BL))
        engine.backward(hidden_BLD.sum() * 0.0)
        engine.step({"a"}, 1.0)
    for name, value in engine.encoder_state().items():
        left = 1.0 if value.dim() < 2 else (1 - 0.1 * 0.5) ** 2
        torch.testing.assert_close(value - start[name], torch.full_like(value, left))


def test_an_average_is_of_what_the_start_has_drawn():
    engine, spec = build(decay_to="start", weight_decay=0.5, average={"name": "swa", "start": 0.0})
    step(engine, spec)
    raw = engine.encoder_state()
    with engine.averaged():
        assert not any(moved(engine, raw).values())  # the mean of one


def test_a_skipped_step_does_not_pull_and_is_not_averaged():
    engine, spec = build(decay_to="start", weight_decay=0.5, average={"name": "swa"})
    step(engine, spec)
    before, state = engine.encoder_state(), engine.optimizer_state()
    engine.start_step(1, phase_of(1, 10, spec))
    hidden_BLD, _ = engine.encoder(IDS_BL, torch.ones_like(IDS_BL))
    engine.backward(hidden_BLD.sum() * float("inf"))
    engine.step({"a"}, 1.0)
    assert not any(moved(engine, before).values())
    assert all(torch.equal(value, state[name]) for name, value in engine.optimizer_state().items())


@pytest.mark.parametrize(
    ("average", "function"),
    [
        ({"name": "ema", "decay": 0.7}, get_ema_multi_avg_fn(0.7)),
        ({"name": "swa", "start": 0.3}, get_swa_multi_avg_fn()),
    ],
)
def test_averages_are_those_of_torch(average, function):
    engine, spec = build(average=average, unfreeze=0.5)
    oracle = AveragedModel(engine.encoder, multi_avg_fn=function)
    for number in range(6):
        step(engine, spec, number)
        if number >= 10 * average.get("start", 0):
            oracle.update_parameters(engine.encoder)
    with engine.averaged():
        for name, value in engine.encoder_state().items():
            torch.testing.assert_close(value, oracle.module.state_dict()[name].cpu())


def test_an_average_goes_in_and_out_to_the_bit_and_an_idle_heads_rests():
    engine, spec = build(average={"name": "ema", "decay": 0.5})
    step(engine, spec, heads=("a", "b"))
    idle = {k: v for k, v in engine.optimizer_state().items() if k.startswith("heads/b/")}
    step(engine, spec, 1)
    assert "heads/b/average/bias" in idle
    assert all(torch.equal(v, engine.optimizer_state()[k]) for k, v in idle.items())
    raw, state = engine.encoder_state(), engine.optimizer_state()
    with engine.averaged():
        assert any(moved(engine, raw).values())
    assert not any(moved(engine, raw).values())
    assert all(torch.equal(v, state[k]) for k, v in engine.optimizer_state().items())


def test_a_resumed_training_goes_on_with_its_averages_and_its_start():
    options = {"average": {"name": "swa"}, "decay_to": "start", "weight_decay": 0.3, "layer_decay": 0.7}
    whole, spec = build(**options)
    for number in range(4):
        step(whole, spec, number)
    saved = copy.deepcopy((whole.encoder_state(), whole.head_states(), whole.optimizer_state()))
    again, _ = build(**options)  # starts from where the first did
    again.load_weights(*saved[:2])
    again.load_optimizer_state(saved[2])
    for engine in (whole, again):
        step(engine, spec, 4)
    with whole.averaged(), again.averaged():
        assert not any(moved(whole, again.encoder_state()).values())
    assert not any(moved(whole, again.encoder_state()).values())


def test_uniform_averages_have_no_decay():
    with pytest.raises(ValueError, match="decay applies to ema"):
        AverageSpec(name="swa", decay=0.9)
