"""Elastic weight consolidation, against its closed form and on a planted sequence of two tasks."""

import pytest
import torch
from torch import nn

from sslm_platform.engine.consolidation import Consolidation
from sslm_platform.engine.factory import make_engine
from sslm_platform.errors import RunError
from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.spec.schema import EngineSpec


def test_the_penalty_is_the_papers_for_several_stages():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    weights = dict(layer.named_parameters())
    held = Consolidation("encoder", weights, strength=0.7)
    terms = []
    for _ in range(2):
        inputs_ND = torch.randn(5, 3)
        fisher = {name: torch.zeros_like(w) for name, w in weights.items()}
        for row_D in inputs_ND:
            gradients = torch.autograd.grad(layer(row_D).square().sum(), list(weights.values()))
            for square, gradient in zip(fisher.values(), gradients, strict=True):
                square += gradient**2 / 5
        held.take(layer(row_D).square().sum() for row_D in inputs_ND)
        terms.append((fisher, {name: w.detach().clone() for name, w in weights.items()}))
        with torch.no_grad():
            for w in weights.values():
                w.add_(torch.randn(w.shape))
    penalty = sum(
        0.35 * (fisher[name] * (w - star[name]) ** 2).sum()
        for fisher, star in terms
        for name, w in weights.items()
    )
    expected = torch.autograd.grad(penalty, list(weights.values()))
    weights["bias"].grad = torch.ones(2)
    held.pull()
    torch.testing.assert_close(weights["weight"].grad, expected[0])
    torch.testing.assert_close(weights["bias"].grad, expected[1] + 1.0)


class Encoder(nn.Module):
    """Two features of each token, of which the tasks read one each."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(4, 2)

    def forward(self, input_ids_BL, mask_BL, segment_BL=None, transform=None):
        return self.embedding(input_ids_BL), None


HERE = "cuda" if torch.cuda.is_available() else "cpu"  # what engines take
IDS_BL = torch.arange(4, device=HERE)[None]


def build(strength):
    torch.manual_seed(0)
    consolidate = {"strength": strength} if strength else None
    spec = OptimizerSpec(lr=0.02, weight_decay=0.0, clip=None, consolidate=consolidate)
    return make_engine(
        EngineSpec(threads=1), spec, Encoder(), {"first": nn.Identity(), "second": nn.Identity()}
    )


def losses(engine, task):
    """The first task wants ones in the first feature; the second wants the two features to add up to -1."""
    hidden_BLD, _ = engine.encoder(IDS_BL, torch.ones_like(IDS_BL))
    found_BL = hidden_BLD[..., 0] - 1.0 if task == "first" else hidden_BLD.sum(-1) + 1.0
    return found_BL.square().flatten()


def train(engine, task, steps):
    for _ in range(steps):
        engine.start_step(1)
        engine.backward(losses(engine, task).sum())
        engine.step({task}, 1.0)


def noisy(engine):
    """A likelihood has noise: at the optimum its gradients are zero in the mean alone."""
    for place in range(4):
        for noise in (-1.0, 1.0):
            hidden_BLD, _ = engine.encoder(IDS_BL, torch.ones_like(IDS_BL))
            yield (hidden_BLD[0, place, 0] - 1.0 - noise).square() / 2


def sequence(strength):
    """Return the first task's mean loss after the first and the second task, and the second's."""
    engine = build(strength)
    train(engine, "first", 300)
    before = losses(engine, "first").mean().item()
    if engine.consolidation is not None:
        engine.consolidation.take(noisy(engine))
    train(engine, "second", 300)
    return before, losses(engine, "first").mean().item(), losses(engine, "second").mean().item()


def test_forgetting_is_more_than_halved_and_the_second_task_is_learned_as_well():
    before, after, second = sequence(0.0)
    held_before, held_after, held_second = sequence(5.0)
    assert before == held_before < 1e-2
    assert second < 1e-3
    assert held_second < 1e-2
    assert held_after - held_before < 0.1 * (after - before)


def test_states_go_on_where_they_were():
    engine, again = build(2.0), build(2.0)
    train(engine, "first", 5)
    engine.consolidation.take(noisy(engine))
    again.load_weights(engine.encoder_state(), engine.head_states())
    saved = engine.optimizer_state()
    assert {"encoder/fisher/embedding.weight", "encoder/fisher_weight/embedding.weight"} <= saved.keys()
    again.load_optimizer_state(saved)
    for one in (engine, again):
        train(one, "second", 3)
    assert torch.equal(*(one.encoder_state()["embedding.weight"] for one in (engine, again)))
    with pytest.raises(RunError, match=r"fisher_weight/embedding.weight'"):
        again.load_optimizer_state({k: v for k, v in saved.items() if "fisher_weight" not in k})
