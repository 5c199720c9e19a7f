"""Predicting the matrix: every estimator on every pair of a source and a target, each once."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sslm_platform.corpus import Corpus
from sslm_platform.errors import SslmError, UndefinedError
from sslm_platform.kinds import EvidenceKind
from sslm_platform.plugins import host
from sslm_platform.report.predictions import Prediction, PredictionPlan, plan_path, prediction_path
from sslm_platform.report.records import read_record, write_record
from sslm_platform.spec.load import validated_options
from sslm_platform.spec.resolved import Bound, ResolvedRun
from sslm_platform.train.folder import versions
from sslm_platform.train.job import digest, initial_content, metric_content, task_content
from sslm_platform.train.joint import joint_id
from sslm_platform.transfer.cells import PROBE, plan_cells
from sslm_platform.transfer.evidence import EvidenceRoom, Question
from sslm_platform.transfer.plan import TrainingPlan
from sslm_platform.transfer.sources import Source, alone
from sslm_platform.transfer.training import Lab
from sslm_platform.types import EstimatorDef

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Forecast:
    """One prediction to make, named by a hash of what it depends on."""

    id: str
    estimator: Bound[EstimatorDef]
    question: Question


def choose(run: ResolvedRun, names: Sequence[str]) -> tuple[Bound[EstimatorDef], ...]:
    """Return estimators by name, with the spec's options where it gives some.

    Raises:
        PluginError: there is none of that name.
        SpecError: it needs options, and the spec gives none.
    """
    known = {bound.definition.name: bound for bound in run.estimators}
    return tuple(known[name] if name in known else _without_options(name) for name in names)


def _without_options(name: str) -> Bound[EstimatorDef]:
    entry = host().get(host().registry.estimators, name)
    options = validated_options(entry.definition.options, {}, f"estimator {name}: options")
    return Bound(entry.definition, options, entry.provenance)


def plan_predictions(corpus: Corpus, more: Sequence[Bound[EstimatorDef]] = ()) -> list[Forecast]:
    """Return the predictions of the spec's estimators and ``more``, by source, target and estimator.

    Sources are those that transfer blocks train at once (``full``), and every task by itself; targets are
    all tasks that are not among the source's. A source that blocks train differently takes the first one's
    training.
    """
    contents = _Contents(corpus)
    estimators = {bound.definition.name: bound for bound in (*corpus.run.estimators, *more)}.values()
    return [
        Forecast(contents.identity(estimator, question), estimator, question)
        for question in questions(corpus)
        for estimator in estimators
    ]


def questions(corpus: Corpus) -> Iterator[Question]:
    """Yield the pairs of a source and a target that it was not trained on."""
    tasks = list(corpus.run.tasks.values())
    planned: dict[str, tuple[Source, TrainingPlan | None]] = {}
    for cell in plan_cells(corpus).cells.values():
        if cell.key.source_stage == "full" and cell.source is not None and cell.training is not None:
            planned.setdefault(cell.source.name, (cell.source, cell.training))
    for task in tasks:
        planned.setdefault(task.identity, (alone(task), None))
    for source, training in planned.values():
        seed = training.seed if training else corpus.run.spec.seed
        for target in tasks:
            if target.identity not in source.identities:
                yield Question(source, target, training, seed)


def write_plan(transfer: Path, forecasts: Iterable[Forecast]) -> None:
    """Note which predictions are those of the spec as it is."""
    write_record(PredictionPlan(ids=tuple(forecast.id for forecast in forecasts)), plan_path(transfer))


def predict_transfer(lab: Lab, forecasts: Iterable[Forecast], *, may_train: bool) -> list[Prediction]:
    """Make the predictions that have no finished record, and return all of them.

    Args:
        lab: corpus, run folder and device.
        forecasts: in an order that keeps a source's together: its model is loaded once.
        may_train: whether sources without a model are trained; else what needs one is undefined.
    """
    spec = lab.corpus.run.spec.prediction
    room = EvidenceRoom(lab, spec.examples, spec.gradient_examples, may_train=may_train)
    environment = versions() | {"threads": str(torch.get_num_threads())}
    result = []
    for forecast in forecasts:
        path = prediction_path(lab.folder.transfer, forecast.id)
        known = read_record(Prediction, path) if path.exists() else None
        if known is None or known.status != "done":
            known = _predict(room, forecast, environment)
            write_record(known, path)
        result.append(known)
    return result


def _predict(room: EvidenceRoom, forecast: Forecast, environment: dict[str, str]) -> Prediction:
    """Make one prediction; what fails, in a plugin or in torch, does not stop the rest."""
    definition, question = forecast.estimator.definition, forecast.question
    facts: dict[str, Any] = {
        "id": forecast.id,
        "estimator": definition.name,
        "signed": definition.signed,
        "source": question.source.name,
        "source_tasks": question.source.identities,
        "target": question.target.identity,
        "seed": question.seed,
        "training": question.training.id if question.training and _reads_source(definition) else "",
        "environment": environment,
    }
    emits = question.target.head.definition.emits
    if emits not in definition.targets:
        return Prediction(status="undefined", reason=f"{definition.name} does not score {emits}", **facts)
    try:
        evidence, seconds = room.evidence(definition.needs, question)
        began = time.perf_counter()
        value = float(forecast.estimator.build().score(evidence))
    except UndefinedError as error:
        return Prediction(status="undefined", reason=str(error), **facts)
    except Exception as error:
        reason = str(error)
        if not isinstance(error, SslmError):
            reason = f"{type(error).__name__}: {error}"
            log.error("estimator %r failed", definition.name, exc_info=error)
        return Prediction(status="failed", reason=reason, **facts)
    if not math.isfinite(value):
        return Prediction(status="failed", reason=f"{definition.name} gave {value}", **facts)
    own = time.perf_counter() - began
    return Prediction(status="done", value=value, seconds=own, evidence=seconds, **facts)


def _reads_source(definition: EstimatorDef) -> bool:
    return any(kind.needs_source_model for kind in definition.needs)


class _Contents:
    """Content hashes of predictions; what is the same for all is read once."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.encoder = initial_content(corpus, corpus.run.spec.seed)
        self.joint = joint_id(corpus, corpus.run.spec.seed)

    def identity(self, estimator: Bound[EstimatorDef], question: Question) -> str:
        """Hash what a prediction depends on, and nothing else: a new domain changes no other pair's."""
        needs, spec = estimator.definition.needs, self.corpus.run.spec.prediction
        tasks = (*question.source.tasks, question.target)
        content: dict[str, Any] = {
            "estimator": estimator.fingerprint(),
            "tasks": [task_content(self.corpus, task) for task in tasks],
            "seed": question.seed,
        }
        if _reads_source(estimator.definition):
            content["training"] = question.training.id if question.training else ""
        if needs - {EvidenceKind.LOG}:
            content["examples"] = spec.examples
        if needs & {EvidenceKind.TEXTS, EvidenceKind.GRADIENTS}:
            content["encoder"] = self.encoder
        if EvidenceKind.GRADIENTS in needs:
            content["gradients"] = [spec.gradient_examples, PROBE, [metric_content(t) for t in tasks]]
        if EvidenceKind.LOG in needs:
            content["joint"] = self.joint
        return digest(content)
