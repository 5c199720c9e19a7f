import pytest
import torch
from torch import nn
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from sslm_platform.engine.optimizer import make_adamw, parameter_groups, rate_factor
from sslm_platform.spec.schema import OptimizerSpec

ORACLES = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "constant": lambda optimizer, warmup, _: get_constant_schedule_with_warmup(optimizer, warmup),
}


@pytest.mark.parametrize("decay", ORACLES)
@pytest.mark.parametrize(("warmup", "num_warmup"), [(0.0, 0), (0.1, 4), (0.25, 8), (1.0, 31)])
def test_rates_are_those_of_transformers(decay, warmup, num_warmup):
    num_steps = 31  # 0.1 of it is 3.1: the number of warm-up steps rounds up
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = ORACLES[decay](optimizer, num_warmup, num_steps)
    spec = OptimizerSpec(warmup=warmup, decay=decay)
    for step in range(num_steps):
        assert rate_factor(step, num_steps, spec) == pytest.approx(oracle.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        oracle.step()


def test_a_run_that_is_continued_for_too_long_has_rate_zero():
    assert rate_factor(50, 30, OptimizerSpec(decay="linear")) == 0.0
    assert rate_factor(50, 30, OptimizerSpec(decay="cosine")) == pytest.approx(0.0)


def test_biases_and_norms_are_not_decayed_and_frozen_ones_left_out():
    module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))
    module[0].weight.requires_grad_(False)
    decayed, plain = parameter_groups(module, 0.1)
    assert [p is q for p, q in zip(decayed["params"], [module[1].weight], strict=True)] == [True]
    assert {id(p) for p in plain["params"]} == {
        id(p) for p in (module[1].bias, module[2].weight, module[2].bias)
    }
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


def test_adamw_follows_the_paper():
    """Algorithm 2 of Loshchilov & Hutter (2019), written out."""
    spec = OptimizerSpec(weight_decay=0.1, betas=(0.8, 0.9), eps=1e-6)
    module = nn.Linear(3, 2).double()
    optimizer = make_adamw(module, spec, 0.01)
    weight = module.weight.detach().clone()
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for step in range(1, 5):
        optimizer.zero_grad()
        module(torch.arange(3.0).double()).square().sum().backward()
        gradient = module.weight.grad.clone()
        optimizer.step()
        first = 0.8 * first + 0.2 * gradient
        second = 0.9 * second + 0.1 * gradient**2
        update = (first / (1 - 0.8**step)) / ((second / (1 - 0.9**step)).sqrt() + 1e-6)
        weight = weight - 0.01 * (update + 0.1 * weight)
        torch.testing.assert_close(module.weight.detach(), weight)
