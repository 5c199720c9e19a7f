"""Losses and gradients that are not finite."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch

from sslm_platform.engine.local import LocalEngine
from sslm_platform.errors import RunError
from sslm_platform.schedule.progress import Progress
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train import loop
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import build_model
from sslm_platform.train.skipping import not_finite

NAN, INF = math.nan, math.inf


class NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(context, loss):
        return loss.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * NAN


SPOIL = {
    "nan": lambda loss: loss * NAN,
    "infinite, with a finite gradient": lambda loss: loss + INF,
    "its gradient alone": NoGradient.apply,
}


@pytest.fixture
def spoil(monkeypatch):
    """Spoil a task's loss in some steps (from 1)."""

    def spoil(steps, task="rating@film", how="nan"):
        run, losses, now = loop._run_slots, loop._slot_losses, []

        def run_slots(training, engine, step, *others):
            now[:] = [step + 1]
            return run(training, engine, step, *others)

        def slot_losses(*arguments):
            found = losses(*arguments)
            bad = task in found and now[0] in steps
            return found | {task: SPOIL[how](found[task])} if bad else found

        monkeypatch.setattr(loop, "_run_slots", run_slots)
        monkeypatch.setattr(loop, "_slot_losses", slot_losses)

    return spoil


@pytest.fixture
def corpus(specs, trainings):
    """Two tasks that take part in every step, under a sampler and a balancer that learn."""
    schedule = trainings.sections["schedule"] | {
        "sampler": {"name": "doremi", "options": {"reference_losses": {"*": 0.3}}}
    }
    sections = trainings.sections | {"schedule": schedule, "balancer": {"name": "famo"}}
    return specs.corpus(
        specs.content("films", **sections), 'tasks={"task": ["sentiment", "rating"]}', "optimizer.warmup=0"
    )


def start(corpus):
    spec = corpus.run.spec
    model = build_model(corpus, list(corpus.run.tasks.values()), 1)
    training = plan_training(corpus, model, spec.schedule, spec.optimizer, 1, "test")
    engine = LocalEngine(EngineSpec(), spec.optimizer, model.encoder, model.heads, torch.device("cpu"))
    return training, engine


def state_of(engine):
    heads = {f"{n}.{k}": v for n, state in engine.head_states().items() for k, v in state.items()}
    return engine.encoder_state() | heads | engine.optimizer_state()


@pytest.mark.parametrize("how", SPOIL)
def test_such_a_step_changes_nothing_but_what_has_been_read(corpus, spoil, how):
    spoil({3}, how=how)
    training, engine = start(corpus)
    progress = training.start()
    states, stands, records = [], [], []
    for record in train_steps(training, engine, progress):
        records.append(record)
        states.append(state_of(engine))
        stands.append(Progress.of(json.loads(json.dumps(progress.content()))))
    blamed = ("encoder", "rating@film") if how == "its gradient alone" else ("rating@film",)
    assert [r.skipped_for for r in records] == [(), (), blamed, *[()] * 6]
    assert [r.num_skipped for r in records] == [0, 0] + [1] * 7
    moved = [
        any(not torch.equal(value, after[name]) for name, value in before.items())
        for before, after in pairwise(states)
    ]
    assert moved == [True, False] + [True] * 6
    assert stands[2].positions != stands[1].positions
    for memory in ("sampler", "balancer"):
        kept, before, after = (getattr(stands[i], memory) for i in (2, 1, 3))
        assert kept == before != after


@pytest.mark.parametrize("balancer", ["geometric", "uncertainty", "gradnorm", "mgda", "nash_mtl"])
def test_no_balancer_chokes_on_it(specs, spoil, balancer):
    if balancer in ("mgda", "nash_mtl"):
        pytest.importorskip("torchjd")
    spoil({2, 3}, how="nan")
    corpus = specs.corpus(
        specs.content("films", balancer={"name": balancer, "log_gradients_every": 1}),
        'tasks={"task": ["sentiment", "rating"]}',
    )
    training, engine = start(corpus)
    records = list(train_steps(training, engine, training.start()))
    assert [bool(r.skipped_for) for r in records] == [False, True, True, False, False, False]
    assert all(math.isfinite(value) for r in records[3:] for value in (r.loss, *r.weights.values()))


def test_killed_after_it_the_training_ends_with_the_same_bits_and_count(corpus, tmp_path, trainings, spoil):
    spoil({3, 5, 8})
    said = trainings.train(corpus, tmp_path / "whole")
    assert "joint: step 3 skipped: the loss of rating@film is not finite (1 skipped so far)" in said
    assert "joint training: 3 steps were skipped" in said
    assert trainings.done(tmp_path / "whole")["skipped"] == 3
    trainings.kill(corpus, tmp_path / "killed", 8)
    trainings.train(corpus, tmp_path / "killed")
    trainings.assert_same(tmp_path / "killed", tmp_path / "whole")


def test_after_some_in_a_row_it_is_saved_and_stops(corpus, tmp_path, trainings, spoil):
    spoil({2, 4, 5, 6, 7})
    with pytest.raises(RunError, match=r"step 6: 3 steps in a row .* the loss of rating@film"):
        trainings.train(corpus, tmp_path)
    with pytest.raises(RunError, match="step 7: 4 steps in a row"):  # it is still so
        trainings.train(corpus, tmp_path)
    assert "continuing after step 7 of 9" in trainings.train(corpus, tmp_path)
    assert trainings.done(tmp_path)["skipped"] == 5


def test_a_transfer_cell_whose_training_diverges_fails_with_the_reason(specs, tmp_path, cli, spoil):
    spoil(set(range(1, 100)), task="names@news")
    block = {"source_stage": "none", "target_stage": "finetune", "targets": "all", "finetune_max_steps": 9}
    spec = specs.write(specs.content("names", transfer=[block]))
    status, _, _ = cli("transfer", "run", spec, "--out", tmp_path / "run", "--cache", specs.texts / "cache")
    assert status == 0
    records = [json.loads(f.read_text()) for f in (tmp_path / "run").rglob("cells/*/record.json")]
    (failed,) = [r["error"] for r in records if r["status"] == "failed"]
    assert "step 3: 3 steps in a row were skipped, since the loss of names@news was not finite" in failed


def test_a_loss_is_blamed_before_the_gradients_that_it_spoils():
    assert not_finite({"a": 1.0, "b": INF}, {"encoder": NAN}) == ("b",)
    assert not_finite({"a": 1.0}, {"encoder": NAN, "head": 1.0}) == ("encoder",)
    assert not_finite({"a": 1.0}, {"encoder": 0.0}) == ()
