"""Look-ahead affinities: known values, in real steps, and without a trace in the training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sslm_platform.engine.factory import make_engine
from sslm_platform.engine.task_gradients import TaskGradients
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.affinity import look_ahead
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import build_model

AIMS = {"same": [1.0, 0.0], "orthogonal": [0.0, 1.0], "opposite": [-1.0, 0.0]}


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("eta", [0.1, 0.5])
def test_affinities_of_quadratic_losses(eta):
    """L = |theta - a|^2 / 2 from theta = 0: a step along "same" has a known effect on each."""
    point = Point()
    gradients = TaskGradients(dict(point.named_parameters()))
    scales = {"same": 0.5, "orthogonal": 0.25, "opposite": 0.0}

    def losses():
        with torch.no_grad():
            return {t: float((point.theta - torch.tensor(a)).square().sum() / 2) for t, a in AIMS.items()}

    for task, aim in AIMS.items():
        gradients.backward({task: scales[task] * (point.theta - torch.tensor(aim)).square().sum() / 2})
    before = point.theta.detach().clone()
    found = look_ahead(gradients, scales, losses(), losses, eta)
    assert torch.equal(point.theta, before)
    assert found["same"] == pytest.approx(
        {"same": 1 - (1 - eta) ** 2, "orthogonal": -(eta**2), "opposite": 1 - (1 + eta) ** 2}
    )
    assert found["orthogonal"]["orthogonal"] == pytest.approx(1 - (1 - eta) ** 2)
    assert "opposite" not in found  # a weight of 0 leaves no gradient to step along
    assert look_ahead(gradients, scales, losses(), losses, 0.0) == {}


def test_a_failure_while_ahead_restores_the_weights():
    point = Point()
    gradients = TaskGradients(dict(point.named_parameters()))
    gradients.backward({"a": (point.theta - 1.0).square().sum()})

    def ahead():
        with gradients.ahead("a", 0.5):
            assert float(point.theta.detach()[0]) == 1.0
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        ahead()
    assert point.theta.tolist() == [0.0, 0.0]


@pytest.fixture
def trained(specs):
    """Return the records and the weights of a training (dropout is on) that logs as ``balancer`` says."""

    def trained(lr=1.0e-4, wrapper=None, **balancer):
        content = specs.content(
            "films",
            "names",
            schedule={"tokens_per_batch": 120, "slots_per_step": 3, "max_steps": 5,
                      "sampler": {"name": "uniform"}},
            optimizer={"lr": lr},
            balancer={"name": "static", "options": {"weights": {"mlm@*": 0.2}},
                      "scope": "all", **balancer},
        )  # fmt: skip
        if wrapper:
            content["streams"][0]["tasks"][0]["objective"]["wrapper"] = {"name": wrapper}
        corpus = specs.corpus(content)
        spec = corpus.run.spec
        model = build_model(corpus, list(corpus.run.tasks.values()), 1)
        engine = make_engine(
            EngineSpec(threads=1), spec.optimizer, model.encoder, model.heads, corpus.run.gradients_of
        )
        training = plan_training(corpus, model, spec.schedule, spec.optimizer, 1, "test")
        return list(train_steps(training, engine, training.start())), engine.encoder_state()

    return trained


def test_affinities_are_to_first_order_products_of_gradients(trained):
    """Z(i, j) = rate · g_i · g_j / L_j + O(rate²), with the norms and cosines that are logged beside it."""
    records, _ = trained(log_affinity_every=1, log_gradients_every=1)
    assert not records[0].affinities  # the warm-up starts at a rate of 0
    num_pairs = 0
    for record in records[1:]:
        g = record.gradients
        for i, row in record.affinities.items():
            assert set(row) == set(record.losses)
            for j, value in row.items():
                cosine = 1.0 if i == j else g.cosines[min(i, j)][max(i, j)]
                product = record.learning_rate * cosine * g.norms[i] * g.norms[j]
                assert value == pytest.approx(product / record.losses[j], rel=0.05, abs=2e-6)
                num_pairs += i != j
    assert num_pairs >= 12


def test_a_step_of_no_length_changes_no_loss_whatever_else_the_step_passes_through(trained):
    """A wrapped slot draws more dropout than a look ahead does; the slots after it draw the same."""
    records, _ = trained(lr=1e-12, wrapper="r_drop", log_affinity_every=1)
    found = [value for record in records for row in record.affinities.values() for value in row.values()]
    assert len(found) > 10
    assert max(map(abs, found)) < 1e-6


def test_looking_ahead_leaves_the_training_as_it_was(trained):
    """The same training without it ends with the same bits."""
    logged, weights = trained(log_affinity_every=2, log_gradients_every=1)
    plain, expected = trained(log_gradients_every=1)
    assert [bool(record.affinities) for record in logged] == [False, False, True, False, True]
    assert [record.losses for record in logged] == [record.losses for record in plain]
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
