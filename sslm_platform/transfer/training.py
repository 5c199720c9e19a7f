"""Trainings of the lab: sources, each once for all of its cells, and fine-tuning."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from sslm_platform.corpus import Corpus
from sslm_platform.data.feeds import Feed
from sslm_platform.engine.factory import make_engine
from sslm_platform.engine.group import join_group, of_rank_0, wait_for_all
from sslm_platform.engine.launch import launch
from sslm_platform.engine.rank import rank
from sslm_platform.errors import Interrupted, RunError
from sslm_platform.report.curves import read_curves
from sslm_platform.report.records import TrainingRecord, write_record
from sslm_platform.signals import SIGNALS
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.joint import is_done, joint_id, train_joint
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import Model, build_model, load_trained
from sslm_platform.train.observers import Notifier
from sslm_platform.train.resume import read_done
from sslm_platform.train.skipping import check_diverged
from sslm_platform.transfer.plan import Budget, TrainingPlan


@dataclass(frozen=True, slots=True)
class Lab:
    """What trainings and measurements need beside the plan.

    Attributes:
        engine: of trainings in this process.
        num_processes: ranks of each source training; those of more than one are processes of their own.
    """

    corpus: Corpus
    folder: RunFolder
    console: Console
    notifier: Notifier
    engine: EngineSpec
    device: torch.device
    num_processes: int = 1


@dataclass(slots=True)
class Spent:
    """What a training took, and the weights that it ended with (of a sharded encoder on rank 0 alone)."""

    num_steps: int = 0
    num_tokens: int = 0
    num_padded_tokens: int = 0
    seconds: float = 0.0
    slots: Counter[str] = field(default_factory=Counter)
    intended: Mapping[str, float] = field(default_factory=dict)
    encoder: Mapping[str, Tensor] = field(default_factory=dict)
    heads: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


def load_source(lab: Lab, plan: TrainingPlan) -> Model:
    """Return a source's trained model on the lab's device; train where it is not there."""
    folder = train_source(lab, plan)
    if plan.source.joint:
        model = load_trained(lab.corpus, plan.source.tasks, folder)
    else:
        model = _untrained(lab, plan)
        model.load(folder)
    model.wear()
    for module in (model.encoder, *model.heads.values()):
        module.to(lab.device)
    return model


def is_trained(lab: Lab, plan: TrainingPlan) -> bool:
    """Whether a source's model is there."""
    if plan.source.joint:
        return is_done(_joint_folder(lab, plan), plan.id)
    return (_folder(lab, plan) / "model").exists()


def train_source(lab: Lab, plan: TrainingPlan) -> Path:
    """Return the model folder of a source training; train where it is not there.

    Raises:
        RunError: a rank of the training failed.
    """
    if lab.num_processes > 1 and not is_trained(lab, plan):
        train_in_ranks(lab, plan)
    folder = _folder(lab, plan)
    if plan.source.joint:
        return _train_joint(lab, plan, folder)
    if lab.engine.name == "deepspeed":
        join_group()
    if of_rank_0((folder / "model").exists()):
        return folder / "model"
    model = _untrained(lab, plan)
    if plan.start is not None:
        model.only(plan.start.source.tasks).load(train_source(lab, plan.start))
    stage = model.only(plan.source.stages[-1])
    spent = train(lab, stage, plan.seed, f"source {plan.source.name}", plan.budget)
    record = TrainingRecord(
        id=plan.id,
        source=plan.source.name,
        tasks=tuple(stage.tasks),
        start=plan.start.id if plan.start else "",
        seed=plan.seed,
        num_steps=spent.num_steps,
        num_tokens=spent.num_tokens,
        num_padded_tokens=spent.num_padded_tokens,
        slots=dict(spent.slots),
        intended=dict(spent.intended),
        seconds=spent.seconds,
    )
    if rank() == 0 and not (folder / "model").exists():  # it is where this worker was stopped for long
        write_record(record, folder / "record.json")
        heads = {name: spent.heads.get(name, head.state_dict()) for name, head in model.heads.items()}
        model.save(folder / "model", lab.corpus.tokenizer, spent.encoder, heads)
    wait_for_all()
    return folder / "model"


def train_in_ranks(lab: Lab, plan: TrainingPlan) -> None:
    """Train a source in processes of its own, with the run's engine."""
    argv = ["-m", "sslm_platform", "transfer", "train", str(lab.folder.spec), plan.id]
    argv += ["--out", str(lab.folder.root), "--cache", str(lab.corpus.cache)]
    code = launch(argv, lab.num_processes)
    if code - 128 in SIGNALS:
        raise Interrupted(code - 128)
    if code:
        raise RunError(f"the training of {plan.source.name} stopped: a process ended with code {code}")


def _folder(lab: Lab, plan: TrainingPlan) -> Path:
    return lab.folder.transfer / "trainings" / plan.id


def _joint_folder(lab: Lab, plan: TrainingPlan) -> RunFolder:
    own = plan.id == joint_id(lab.corpus, lab.corpus.run.spec.seed)
    return lab.folder if own else RunFolder(_folder(lab, plan))


def _untrained(lab: Lab, plan: TrainingPlan) -> Model:
    """Build the source's model; its heads know the labels of later stages too."""
    return build_model(lab.corpus, plan.known, plan.seed).only(plan.source.tasks)


def _train_joint(lab: Lab, plan: TrainingPlan, folder: Path) -> Path:
    run = _joint_folder(lab, plan)
    train_joint(lab.corpus, run, lab.console, plan.seed, lab.engine)
    if run is not lab.folder and rank() == 0:
        curves, done = read_curves(run.train / "metrics.jsonl"), read_done(run)
        assert done is not None
        record = TrainingRecord(
            id=plan.id,
            source=plan.source.name,
            tasks=plan.source.identities,
            seed=plan.seed,
            num_steps=len(curves.steps),
            num_tokens=curves.num_tokens,
            num_padded_tokens=curves.num_padded_tokens,
            slots=dict(sum((Counter(step["slots"]) for step in curves.steps), Counter())),
            intended={feed: share["intended"] for feed, share in done["shares"].items()},
            seconds=curves.seconds,
        )
        write_record(record, folder / "record.json")
    return run.model


def train(
    lab: Lab,
    model: Model,
    seed: int,
    phase: str,
    budget: Budget,
    feeds: Mapping[str, Feed] | None = None,
) -> Spent:
    """Train a model's tasks to the end of the budget, without selection."""
    began = time.perf_counter()
    spec = lab.corpus.run.spec
    gradients_of = lab.corpus.run.gradients_of
    engine = make_engine(
        lab.engine,
        spec.optimizer,
        model.encoder,
        model.heads,
        gradients_of,
        sharded_heads=lab.corpus.run.sharded_heads,
    )
    training = plan_training(
        lab.corpus,
        model.with_heads(engine.heads),
        spec.schedule,
        spec.optimizer,
        seed,
        phase,
        max_steps=budget.max_steps,
        epochs=budget.epochs,
        feeds=feeds,
    )
    spent = Spent(num_steps=training.num_steps)
    progress = training.start()
    for record in train_steps(training, engine, progress):
        if engine.rank == 0:
            lab.notifier.step_ended(record)
        check_diverged(record, progress, spec.optimizer.max_skipped)
        spent.num_tokens += record.num_tokens
        spent.num_padded_tokens += record.num_padded_tokens
        spent.slots.update(record.slots)
    spent.intended = {feed: share["intended"] for feed, share in progress.shares().items()}
    with engine.averaged():
        spent.encoder, spent.heads = engine.encoder_state(), engine.head_states()
    engine.close()
    spent.seconds = time.perf_counter() - began
    return spent
