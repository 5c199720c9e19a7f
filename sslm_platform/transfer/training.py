"""Trainings of the lab: sources, each once for all of its cells, and fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from sslm_platform.corpus import Corpus
from sslm_platform.engine.factory import make_engine
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.joint import joint_id, train_joint
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import Model, build_model
from sslm_platform.train.observers import Notifier
from sslm_platform.train.skipping import check_diverged
from sslm_platform.transfer.cells import TrainingPlan


@dataclass(frozen=True, slots=True)
class Lab:
    """What trainings and measurements need beside the plan."""

    corpus: Corpus
    folder: RunFolder
    console: Console
    notifier: Notifier
    engine: EngineSpec
    device: torch.device


def train_source(lab: Lab, plan: TrainingPlan) -> Path:
    """Return the model folder of a source training; train where it is not there."""
    corpus = lab.corpus
    if plan.source.joint:
        own = plan.id == joint_id(corpus, corpus.run.spec.seed)
        folder = lab.folder if own else RunFolder(lab.folder.transfer / "trainings" / plan.id)
        train_joint(corpus, folder, lab.console, plan.seed, lab.engine)
        return folder.model
    target = lab.folder.transfer / "trainings" / plan.id / "model"
    if target.exists():
        return target
    model = build_model(corpus, plan.source.tasks, plan.seed)
    train(lab, model, plan.seed, f"source {plan.source.name}", plan.budget.content())
    encoder, heads = model.encoder.state_dict(), {n: h.state_dict() for n, h in model.heads.items()}
    model.save(target, corpus.tokenizer, encoder, heads)
    return target


def train(lab: Lab, model: Model, seed: int, phase: str, budget: Mapping[str, float | int | None]) -> int:
    """Train a model's tasks to the end of the budget, without selection; return the tokens seen."""
    spec = lab.corpus.run.spec
    engine = make_engine(lab.engine, spec.optimizer, model.encoder, model.heads)
    training = plan_training(
        lab.corpus,
        model,
        spec.schedule,
        spec.optimizer,
        seed,
        phase,
        **budget,  # type: ignore[arg-type]
    )
    tokens, progress = 0, training.start()
    for record in train_steps(training, engine, progress):
        lab.notifier.step_ended(record)
        check_diverged(record, progress, spec.optimizer.max_skipped)
        tokens += record.num_tokens
    engine.close()
    return tokens
