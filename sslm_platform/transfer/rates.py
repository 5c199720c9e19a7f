"""How fast this machine is with a run's encoder: as earlier runs were, or as a short calibration says.

Rates are kept in the cache, one file for each encoder and machine; every run makes them those of its records.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from sslm_platform.corpus import Corpus
from sslm_platform.engine.factory import make_engine
from sslm_platform.errors import RunError
from sslm_platform.evaluate import evaluation_batches
from sslm_platform.report.estimates import Rates
from sslm_platform.report.records import CellRecord, TrainingRecord, read_record, write_record
from sslm_platform.scoring import score_intervals
from sslm_platform.spec.resolved import Task
from sslm_platform.train.folder import machine
from sslm_platform.train.job import digest, encoder_content
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import Model, build_model
from sslm_platform.transfer.estimate import kind_of
from sslm_platform.transfer.features import FeatureStore
from sslm_platform.transfer.probe import fit_probe, score_features
from sslm_platform.transfer.training import Lab
from sslm_platform.transfer.units import Unit

CALIBRATION_TOKENS = 4096  # that are encoded, after a warm-up
CALIBRATION_STEPS = 3  # of each kind of training, after one to warm up


def known_rates(corpus: Corpus) -> Rates | None:
    """Return the rates of earlier runs on this machine, or None."""
    path = _path(corpus)
    if not path.exists():
        return None
    try:
        return read_record(Rates, path)
    except RunError:  # damaged, or of another version: it is measured again
        return None


def remember(corpus: Corpus, rates: Rates) -> None:
    """Keep rates for later runs on this machine."""
    write_record(rates, _path(corpus))


def calibrate(lab: Lab, units: Iterable[Unit]) -> Rates:
    """Train, encode, probe and score for some seconds, with what the units are made of."""
    units = list(units)
    stages = {kind_of(stage): (known, stage, seed) for known, stage, seed in _trained(units)}
    train = {kind: _train_rate(lab, *training) for kind, training in stages.items()}
    task = next(
        (task for task in lab.corpus.run.tasks.values() if not task.head.definition.no_probe),
        next(iter(lab.corpus.run.tasks.values())),
    )
    began = time.perf_counter()
    model = build_model(lab.corpus, [task], 0)
    model.encoder.to(lab.device)
    loading = time.perf_counter() - began
    encode, fit, cell = _encode_rate(lab, model, task)
    return Rates(
        origin="calibration",
        train_tokens_per_second=train,
        encode_tokens_per_second=encode,
        seconds_per_fit=fit,
        seconds_per_cell=cell,
        seconds_per_unit=loading,
        model_bytes=sum(p.numel() * p.element_size() for p in model.encoder.parameters()),
    )


def trains(units: Iterable[Unit]) -> bool:
    """Whether the units train an encoder."""
    return next(_trained(list(units)), None) is not None


def rates_of(
    before: Rates,
    tasks: Mapping[str, Task],
    cells: Iterable[CellRecord],
    trainings: Iterable[TrainingRecord],
) -> Rates:
    """Return the rates that records show; where they show none, those of ``before``.

    A cell's time is explained as tokens, a probe and a constant, by non-negative least squares.

    Args:
        before: earlier rates.
        tasks: of the run.
        cells: finished ones; what is fine-tuned is left out, as its record does not part the two stages.
        trainings: of sources.
    """
    tokens: defaultdict[str, float] = defaultdict(float)
    seconds: defaultdict[str, float] = defaultdict(float)
    for training in trainings:
        if any(task not in tasks for task in training.tasks):
            continue  # of an earlier spec in this folder
        kind = kind_of(tasks[task] for task in training.tasks)
        tokens[kind] += training.num_tokens
        seconds[kind] += training.seconds
    train = {kind: tokens[kind] / seconds[kind] for kind in tokens if seconds[kind] > 0}
    changes: dict[str, object] = {
        "origin": "earlier runs",
        "train_tokens_per_second": {**before.train_tokens_per_second, **train},
    }
    seen = [cell for cell in cells if cell.status == "done" and not _is_finetuned(cell)]
    if sum(cell.num_tokens for cell in seen) > CALIBRATION_TOKENS:
        from scipy.optimize import nnls  # a second to import, which a run with nothing to do would wait

        features = [[cell.num_tokens, float("inverse_l2" in cell.notes), 1.0] for cell in seen]
        scale = np.maximum(np.max(features, axis=0), 1.0)  # tokens are thousands of times as many as probes
        per_token, per_fit, per_cell = nnls(features / scale, [cell.seconds for cell in seen])[0] / scale
        changes["seconds_per_cell"] = per_cell
        if any("inverse_l2" in cell.notes for cell in seen):
            changes["seconds_per_fit"] = per_fit
        if per_token > 0:
            changes["encode_tokens_per_second"] = 1 / per_token
    return before.model_copy(update=changes)


def _is_finetuned(cell: CellRecord) -> bool:
    return cell.key.target_stage == "finetune" or cell.key.learner == "finetune"


def _trained(units: Iterable[Unit]) -> Iterator[tuple[Sequence[Task], Sequence[Task], int]]:
    """Yield what the units train: the tasks that the model has, those of the stage, and the seed."""
    for unit in units:
        yield from (
            ([cell.target], [cell.target], cell.key.seed) for cell in unit.cells if cell.finetune is not None
        )
    for unit in units:
        if (training := unit.training) is not None:
            yield training.known or training.source.tasks, training.source.stages[-1], training.seed


def _train_rate(lab: Lab, known: Sequence[Task], tasks: Sequence[Task], seed: int) -> float:
    """Return the tokens per second of some steps of a training."""
    spec = lab.corpus.run.spec
    model = build_model(lab.corpus, known, seed)
    stage = model.only(tasks)
    engine = make_engine(lab.engine, spec.optimizer, stage.encoder, stage.heads)
    planned = plan_training(
        lab.corpus,
        stage,
        spec.schedule,
        spec.optimizer,
        seed,
        "calibration",
        max_steps=CALIBRATION_STEPS + 1,
    )
    records = list(train_steps(planned, engine, planned.start()))[1:]
    engine.close()
    return sum(record.num_tokens for record in records) / sum(record.seconds for record in records)


def _encode_rate(lab: Lab, model: Model, task: Task) -> tuple[float, float, float]:
    """Return tokens encoded per second, and the seconds of one probe and of one cell's scores."""
    part = model.tasks[task.identity]
    train = lab.corpus.task_feed(task, lab.corpus.run.spec.seed).splits["train"]
    order = np.argsort(train.lengths_N, kind="stable")
    middle = order[len(order) // 2 :]  # batches of usual lengths
    few = middle[: 1 + int(np.searchsorted(np.cumsum(train.lengths_N[middle]), CALIBRATION_TOKENS))]
    store = FeatureStore(lab.corpus, model.encoder, lab.device)
    warm = evaluation_batches(train.lengths_N[few])[0][:8]
    store.read_rows(part, train.take(np.sort(few[warm])), "dev")
    before, began = store.num_tokens, time.perf_counter()
    features = store.read_rows(part, train.take(np.sort(few)), "train")
    encoded = time.perf_counter()
    rate = (store.num_tokens - before) / (encoded - began)
    if part.task.head.definition.no_probe:
        return rate, 0.0, 0.0
    probe = fit_probe([part], [features], [features], (0.1, 1.0, 10.0))
    fitted = time.perf_counter()
    score_intervals(task, score_features(part, features, probe.head), part.labels)
    ended = time.perf_counter()
    return rate, fitted - encoded, ended - fitted


def _path(corpus: Corpus) -> Path:
    engine = corpus.run.spec.engine
    content = [encoder_content(corpus), machine(engine), torch.__version__, engine.precision]
    return corpus.cache / "rates" / f"{digest(content)}.json"
