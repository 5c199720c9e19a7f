"""A table of which few rows are read: what the whole's update gives, to the bit."""

import pytest
import torch
from torch import nn

from sslm_platform.engine import tables
from sslm_platform.engine.local import LocalEngine
from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.spec.schema import EngineSpec

ROWS, WIDTH, STEPS = 64, 16, 12
CPU = torch.device("cpu")


class Encoder(nn.Module):
    """An embedding, padding in front of it, and a projection; ``tied`` asks for logits of all rows."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(ROWS, WIDTH, padding_idx=0)
        self.inner = nn.Linear(WIDTH, WIDTH)

    def forward(self, ids_BL, tied):
        hidden_BLD = torch.tanh(self.inner(self.words(ids_BL)))
        return hidden_BLD @ self.words.weight.T if tied else hidden_BLD


def batch(step, most):
    generator = torch.Generator().manual_seed(step)
    return torch.randint(0, most, (3, 4), generator=generator)


def train(engine, start=0, end=STEPS, most=16, tied_at=(), slots=1):
    norms = []
    for step in range(start, end):
        engine.start_step(slots)
        for slot in range(slots):
            engine.backward(engine.encoder(batch(slots * step + slot, most), step in tied_at).square().sum())
        norms.append(engine.step([], 1.0 - step / STEPS)["encoder"])
    return norms


@pytest.fixture
def engine(monkeypatch):
    """Return an engine that spares tables of ``at least`` so many rows."""

    def make(at_least=ROWS, **optimizer):
        monkeypatch.setattr(tables, "MIN_ROWS", at_least)
        spec = OptimizerSpec(**{"lr": 0.05, "clip": None, **optimizer})
        return LocalEngine(EngineSpec(), spec, Encoder(), {}, CPU)

    return make


def assert_same(one, other, **within):
    states = ((e.encoder_state(), e.optimizer_state()) for e in (one, other))
    for first, second in zip(*states, strict=True):
        first, second = ({k: v for k, v in s.items() if "whole_table" not in k} for s in (first, second))
        assert first.keys() == second.keys()
        for name, value in first.items():
            torch.testing.assert_close(value, second[name], **{"rtol": 0, "atol": 0, **within}, msg=name)


@pytest.mark.parametrize(
    ("optimizer", "how"),
    [
        ({}, {}),
        ({"weight_decay": 0.0}, {}),
        ({"average": {"name": "ema", "decay": 0.9}}, {}),
        ({}, {"most": 50}),  # soon more rows are read than it pays for
    ],
)
def test_weights_moments_and_norms_are_those_of_the_whole_table(engine, optimizer, how):
    whole, few = engine(ROWS + 1, **optimizer), engine(**optimizer)
    assert few.encoder.words.sparse
    assert train(few, **how) == pytest.approx(train(whole, **how), rel=1e-6)
    assert_same(few, whole)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("how", [{}, {"slots": 3}, {"tied_at": (5, 6)}, {"tied_at": (0,), "slots": 2}])
def test_where_sums_are_rounded_otherwise_they_are_close(engine, clip, how):
    """The norm of a list of rows, the sum of several slots' lists, a list added to a tied head's gradient."""
    whole, few = engine(ROWS + 1, clip=clip), engine(clip=clip)
    assert train(few, **how) == pytest.approx(train(whole, **how), rel=1e-4)
    assert_same(few, whole, rtol=1e-4, atol=1e-4)


def test_rows_that_no_batch_has_read_have_no_moments_and_decay(engine):
    few = engine(weight_decay=0.1)
    before = few.encoder_state()["words.weight"]
    train(few)
    weight, state = few.encoder_state()["words.weight"], few.optimizer_state()
    assert torch.count_nonzero(state["encoder/exp_avg/words.weight"][16:]) == 0
    share = torch.tensor([1 - 0.05 * (1 - step / STEPS) * 0.1 for step in range(STEPS)]).prod()
    assert weight[16:] == pytest.approx(before[16:] * share, rel=1e-5)
    assert len(few._encoder._tables[0]._rows) == 15  # padding is none


@pytest.mark.parametrize("stop", [1, 7])
@pytest.mark.parametrize("at_least", [ROWS, ROWS + 1])
def test_resumed_it_goes_on_with_the_same_bits(engine, stop, at_least):
    """Also where the saved state is that of an engine that updates the whole."""
    clip = 2.0 if at_least == ROWS else None  # norms of lists are rounded otherwise
    never, first = engine(clip=clip), engine(at_least, clip=clip)
    train(never)
    train(first, 0, stop)
    resumed = engine(clip=clip)
    train(resumed, 0, 3, most=30)  # what it had before is forgotten
    resumed.load_weights(first.encoder_state(), {})
    resumed.load_optimizer_state(first.optimizer_state())
    train(resumed, stop)
    assert_same(resumed, never)


@pytest.mark.parametrize(
    "how", [{"tied_at": range(STEPS)}, {"tied_at": (0,), "slots": 2}, {"most": 50, "slots": 2}]
)
def test_a_table_that_was_left_to_the_optimizer_stays_with_it(engine, how):
    """Sums of lists of rows are rounded otherwise."""
    never, first, resumed = engine(), engine(), engine()
    train(never, **how)
    train(first, 0, 7, **how)
    resumed.load_weights(first.encoder_state(), {})
    resumed.load_optimizer_state(first.optimizer_state())
    train(resumed, 7, **how)
    assert_same(resumed, never)


def test_tables_that_others_look_at_stay_as_they_are(engine):
    for more in ({"decay_to": "start"}, {"consolidate": {"strength": 1.0}}):
        assert not engine(**more).encoder.words.sparse
    few = engine()
    few.close()
    assert not few.encoder.words.sparse


def test_a_second_engine_takes_over_from_one_that_was_not_closed(engine):
    first = engine()
    train(first, end=2)
    spec = OptimizerSpec(lr=0.05, clip=None)
    second = LocalEngine(EngineSpec(), spec, first.encoder, {}, CPU)
    train(second, end=2)
    assert len(second._encoder._tables) == 1


def test_only_plain_tables_that_are_trained_are_spared(monkeypatch):
    monkeypatch.setattr(tables, "MIN_ROWS", ROWS)
    tied, frozen, narrow = nn.Module(), nn.Embedding(ROWS, WIDTH), nn.Embedding(ROWS, 12)
    tied.words, tied.output = nn.Embedding(ROWS, WIDTH), nn.Linear(WIDTH, ROWS)
    tied.output.weight = tied.words.weight
    frozen.requires_grad_(False)
    assert not list(tables.large_tables(nn.ModuleList([tied, frozen, narrow])))
