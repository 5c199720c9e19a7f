"""What of a step depends on the number of ranks, up to 512: this needs no processes."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sslm_platform.data.batching import plan_batches
from sslm_platform.schedule.plan import Planner, Slot, rank_rows
from sslm_platform.train.loop import _rank_batch, _weights, plan_training

RANKS = 512
TOKENS = RANKS * 2048


class InTurn:
    def probabilities(self, state):
        return np.eye(len(state.feeds))[(state.step + state.slot) % len(state.feeds)]


@pytest.fixture(scope="module")
def lengths():
    rng = np.random.default_rng(0)
    return {f"feed{i}": np.clip(rng.lognormal(3.0, 0.6, size=500_000), 4, 128).astype(int) for i in range(3)}


@pytest.fixture(scope="module")
def planner(lengths):
    passes = {}

    def batches(feed, epoch):
        if (feed, epoch) not in passes:
            passes[feed, epoch] = plan_batches(lengths[feed], TOKENS, (1, epoch))
        return passes[feed, epoch]

    sizes = {feed: len(of_feed) for feed, of_feed in lengths.items()}
    return Planner(InTurn(), sizes, batches, seed=1, slots_per_step=4, num_steps=100)


def test_512_ranks_share_every_slot_and_their_work_is_even(planner, lengths):
    positions, waits = planner.start(), []
    for step in range(6):
        plan = planner.plan(step, positions)
        positions = plan.positions
        for slot in plan.slots:
            shares = [rank_rows(slot.rows, rank, RANKS) for rank in range(RANKS)]
            np.testing.assert_array_equal(np.sort(np.concatenate(shares)), np.sort(slot.rows))
            of_slot = lengths[slot.feed][slot.rows]
            assert len(of_slot) * of_slot.max() <= TOKENS
            padded = [len(share) * max(lengths[slot.feed][share], default=0) for share in shares]
            waits.append(1 - np.mean(padded) / np.max(padded))
    assert np.mean(waits) < 0.1, "of each slot's time, ranks wait for the one with most"


def test_planning_takes_no_longer_for_more_ranks(planner):
    positions = planner.start()
    planner.plan(0, positions)
    began = time.process_time()
    for step in range(50):
        positions = planner.plan(step % 3, planner.start()).positions
    assert (time.process_time() - began) / 50 < 0.01


def test_ranks_without_examples_run_one_that_weighs_nothing(corpus, model):
    run = corpus.run.spec
    training = plan_training(corpus, model, run.schedule, run.optimizer, 1, "test")
    feed = next(name for name in training.feeds if name.startswith("films"))
    slot = Slot(feed, 0, np.arange(5))
    totals, idle = {}, 0
    for rank in range(RANKS):
        engine = SimpleNamespace(rank=rank, world_size=RANKS, device=torch.device("cpu"))
        batch, empty = _rank_batch(training, engine, training.start(), slot)
        assert len(batch.inputs["input_ids_BL"]) == 1, "every rank calls the modules, or others would wait"
        idle += empty
        for task, weight in _weights([(batch, empty)]).items():
            totals[task] = totals.get(task, 0.0) + weight
    assert idle == RANKS - 5
    assert totals == dict.fromkeys(training.feeds[feed].tasks, 5.0)
