import threading

import pytest
import torch

from sslm_platform.engine.factory import make_engine
from sslm_platform.schedule.plan import Slot, StepPlan
from sslm_platform.train import loop
from sslm_platform.train.fetch import Fetcher, plans_ahead
from sslm_platform.train.model import build_model


def plan(step):
    return StepPlan(step, tuple(Slot("feed", 0, slot) for slot in range(2)), {}, {})


def next_plan(before):
    return plan(before.step + 1) if before.step < 3 else None


def test_the_next_steps_batches_are_made_in_another_thread_and_are_the_same():
    threads = []

    def make(slot):
        threads.append(threading.get_ident())
        return slot.rows

    with Fetcher(make, next_plan) as fetch:
        assert [fetch(plan(step)) for step in range(4)] == [[0, 1]] * 4
    assert len(threads) == 8
    assert [thread == threading.get_ident() for thread in threads] == [True] * 2 + [False] * 6


def test_a_plan_that_was_not_expected_is_made_at_once():
    with Fetcher(lambda slot: slot.rows, next_plan) as fetch:
        fetch(plan(0))
        assert fetch(plan(3)) == [0, 1]


def test_an_error_ahead_is_raised_when_its_step_comes():
    def make(slot):
        if threading.current_thread() is not threading.main_thread():
            raise OSError("disk")

    with Fetcher(make, next_plan) as fetch:
        fetch(plan(0))
        with pytest.raises(OSError, match="disk"):
            fetch(plan(1))


def test_batches_are_made_on_the_rank_s_own_gpu(monkeypatch):
    bound = []
    monkeypatch.setattr(torch.cuda, "set_device", bound.append)
    for index in (0, 1):
        with Fetcher(repr, next_plan, torch.device("cuda", index)) as fetch:
            fetch(plan(0))
    assert bound == [torch.device("cuda", 1)]  # a new thread is on the first one as it is


@pytest.fixture
def trained(specs):
    """Train some steps with dropout; return their records and the final weights."""

    def run(**schedule):
        content = specs.content("films", "names")
        content["schedule"] = {"tokens_per_batch": 120, "slots_per_step": 2, "max_steps": 6} | schedule
        corpus = specs.corpus(content)
        spec = corpus.run.spec
        model = build_model(corpus, list(corpus.run.tasks.values()), 1)
        training = loop.plan_training(corpus, model, spec.schedule, spec.optimizer, 1, "test")
        engine = make_engine(spec.engine, spec.optimizer, model.encoder, model.heads)
        records = list(loop.train_steps(training, engine, training.start()))
        return records, engine.encoder_state()

    return run


def test_a_training_that_fetches_ahead_ends_with_the_same_bits(trained, monkeypatch):
    records, weights = trained()
    asked = []

    def as_on_a_gpu(planner, device):
        asked.append(plans_ahead(planner, torch.device("cuda")))
        return asked[-1]

    monkeypatch.setattr(loop, "plans_ahead", as_on_a_gpu)
    ahead, ahead_weights = trained()
    assert asked[-1] is not None
    assert [record.losses for record in ahead] == [record.losses for record in records]
    assert all(torch.equal(ahead_weights[name], value) for name, value in weights.items())
    trained(sampler={"name": "exp3s"})
    assert asked[-1] is None  # it plans a step by what the one before has shown
