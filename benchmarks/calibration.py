"""Whether the statistics of the matrices keep their promises: in simulation, and among identical sources.

Simulated: models of equal quality (or one better source) are scored on shared test examples. Seeds and
examples vary, and the records go through ``build_matrix`` like those of a run. Real: one task is trained over
and over from scratch, and its trainings are handed out as if they were of different sources.

    python benchmarks/calibration.py [--matrices 1000] [--repeats 8]
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import optimize, stats

from sslm_platform.report.matrix import build_matrix
from sslm_platform.report.places import Cell, Matrix
from sslm_platform.report.records import CellKey, CellRecord, MetricValue, PlannedCell, TaskInfo, TransferPlan

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "calibration.json"
PRIORS_K = np.array([0.5, 0.3, 0.2])
OTHERS_KK = np.tile(PRIORS_K, (3, 1)) * (1 - np.eye(3))  # how a wrong answer is spread over classes
OTHERS_KK /= OTHERS_KK.sum(axis=1, keepdims=True)


def accuracy(totals_RK: np.ndarray) -> np.ndarray:
    """Score sums of right, predicted and gold answers of three classes, (R, 9)."""
    return totals_RK[:, :3].sum(axis=1) / totals_RK[:, 6:].sum(axis=1)


def macro_f1(totals_RK: np.ndarray) -> np.ndarray:
    """Score sums of right, predicted and gold answers of three classes, (R, 9)."""
    correct_RK, predicted_RK, gold_RK = np.split(totals_RK, 3, axis=1)
    return (2 * correct_RK / np.maximum(predicted_RK + gold_RK, 1e-9)).mean(axis=1)


METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"accuracy": accuracy, "macro_f1": macro_f1}


@dataclass(frozen=True, slots=True)
class World:
    """How models err: right where ``skill + seed + example + noise > 0``, in units of the noise.

    ``seed_sd`` moves all answers of one training, ``example_sd`` those of all models to one example; 0.06 of
    the first is about two points of accuracy.
    """

    metric: str = "accuracy"
    num_seeds: int = 5
    seed_sd: float = 0.06
    example_sd: float = 1.0
    skill: float = 0.2
    num_sources: int = 4
    num_targets: int = 3
    num_examples: int = 200
    num_resamples: int = 200

    def score(self, skill: float) -> float:
        """Return the true score: that of endless seeds and examples."""
        right = stats.norm.cdf(skill / math.sqrt(1 + self.seed_sd**2 + self.example_sd**2))
        confusion_KK = PRIORS_K[:, None] * (right * np.eye(3) + (1 - right) * OTHERS_KK)
        totals_K = np.concatenate([np.diag(confusion_KK), confusion_KK.sum(axis=0), PRIORS_K])
        return float(METRICS[self.metric](totals_K[None])[0])

    def better(self, gain: float) -> float:
        """Return the skill that scores ``gain`` more, or nearly perfect where there is no room for it."""
        goal = min(self.score(self.skill) + gain, 0.995)
        return float(optimize.brentq(lambda skill: self.score(skill) - goal, self.skill, 20))


def simulate(world: World, rng: np.random.Generator, better: float | None = None) -> Matrix:
    """Return a matrix of gains; ``better`` is the skill of the first source on the first target."""
    records = []
    for target in range(world.num_targets):
        skill_MS = np.full((world.num_sources + 1, world.num_seeds), world.skill)
        if better is not None and target == 0:
            skill_MS[0] = better
        values_MSR = measure(world, skill_MS, rng)
        records += [
            make_record(world.metric, model, f"t@{target}", seed, values_MSR[model, seed], world.num_examples)
            for model in range(world.num_sources + 1)
            for seed in range(world.num_seeds)
        ]
    return matrix_of(records, world.num_sources)


def measure(world: World, skill_MS: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Score models M of seeds S on new examples and on their resamples: (M, S, 1 + R), the score first."""
    num = world.num_examples
    gold_N = rng.choice(3, size=num, p=PRIORS_K)
    wrong_N = (rng.random(num)[:, None] > OTHERS_KK[gold_N].cumsum(axis=1)).sum(axis=1)
    decides_MSN = skill_MS[..., None] + world.seed_sd * rng.normal(size=(*skill_MS.shape, 1))
    decides_MSN = (
        decides_MSN + world.example_sd * rng.normal(size=num) + rng.normal(size=(*skill_MS.shape, num))
    )
    right_MSN = decides_MSN > 0
    classes_KK = np.eye(3, dtype=np.float32)
    parts = (right_MSN[..., None] * classes_KK[gold_N], classes_KK[np.where(right_MSN, gold_N, wrong_N)])
    statistics_MSNK = np.concatenate([*parts, np.broadcast_to(classes_KK[gold_N], parts[0].shape)], axis=-1)
    counts_RN = np.ones((1 + world.num_resamples, num), dtype=np.float32)
    counts_RN[1:] = rng.multinomial(num, np.full(num, 1 / num), world.num_resamples)
    totals_MSRK = counts_RN @ statistics_MSNK
    return METRICS[world.metric](totals_MSRK.reshape(-1, 9)).reshape(totals_MSRK.shape[:3])


def make_record(
    metric: str, model: int, target: str, seed: int, values_R: Iterable[float], num_test: int
) -> CellRecord:
    """Record one model's score on one target, which comes first in ``values_R``, and its resamples."""
    score, *resamples = (float(value) for value in values_R)
    key = CellKey.model_construct(
        source_stage="full", target_stage="probe", source=f"s{model}", source_tasks=(f"s{model}",), row=(),
        target=target, seed=seed, shots=None, draw=0, learner=None,
    )  # fmt: skip
    return CellRecord.model_construct(
        id=f"{model} {target} {seed}", key=key, status="done", error="", metric=metric, higher_is_better=True,
        best=1.0, scores={metric: MetricValue(value=score, low=score, high=score)},
        resamples=tuple(resamples), num_train=1, num_test=num_test,
    )  # fmt: skip


def matrix_of(records: Iterable[CellRecord], baseline: int) -> Matrix:
    """Arrange the gains of all models over the one with the number ``baseline``."""
    by_id = {record.id: record for record in records}
    keys = [record.key for record in by_id.values()]
    cells = [
        PlannedCell(id=id_, key=key, baselines={"pretrained": f"{baseline} {key.target} {key.seed}"})
        for id_, key in zip(by_id, keys, strict=True)
        if key.source != f"s{baseline}"
    ]
    tasks = {
        name: TaskInfo(
            identity=name, name="t", domain=name, stream=name, num_train=1, num_dev=1, num_test=1,
            num_available=3,
        )
        for name in dict.fromkeys(key.target for key in keys)
    }  # fmt: skip
    plan = TransferPlan(cells=tuple(cells), tasks=tasks)
    return build_matrix(plan, by_id, protocol="full/probe", value="gain")


@dataclass(frozen=True, slots=True)
class Calibration:
    """What simulated matrices showed.

    Attributes:
        num_matrices: with nothing to find, and as many with one effect.
        uniform: p-value of the Kolmogorov-Smirnov test of raw p-values against the uniform distribution.
        below_5_percent: share of raw p-values of at most 0.05.
        coverage: share of 95 % intervals that hold the truth.
        with_discovery: number of matrices in which something was found, with nothing to find.
        detectable: mean of the effects that the matrices said they could detect.
        found: number of matrices in which an effect of that size was found.
    """

    world: World
    num_matrices: int
    uniform: float
    below_5_percent: float
    coverage: float
    with_discovery: int
    detectable: float
    found: int


def calibrate(world: World, num_matrices: int, seed: int = 0) -> Calibration:
    """Simulate matrices with nothing to find, then as many with one effect of the size that they promise."""
    rng = np.random.default_rng(seed)
    null = [simulate(world, rng) for _ in range(num_matrices)]
    # One cell a target: cells of one target have a baseline in common.
    p = [_continuous(world, m.cells[m.rows[0], col], rng) for m in null for col in m.cols]
    promised = [matrix.detectable[1] for matrix in null]
    found = [simulate(world, rng, world.better(gain)).all_cells[0].helps for gain in promised]
    return Calibration(
        world=world,
        num_matrices=num_matrices,
        uniform=float(stats.kstest(p, "uniform").pvalue),
        below_5_percent=float(np.mean(np.array(p) <= 0.05)),
        coverage=float(np.mean([c.estimate.low <= 0 <= c.estimate.high for m in null for c in m.all_cells])),
        with_discovery=sum(any(cell.discovery for cell in matrix.all_cells) for matrix in null),
        detectable=float(np.mean(promised)),
        found=sum(found),
    )


def _continuous(world: World, cell: Cell, rng: np.random.Generator) -> float:
    """Return the p-value with accuracies spread over their steps of one example: they alone are discrete."""
    step = 1 / world.num_examples / world.num_seeds if world.metric == "accuracy" else 0.0
    return cell.inference.errors.p(cell.inference.value + step * (rng.random() - 0.5))


def identical_sources(
    corpus, name: str, num_sources: int, num_seeds: int, *, first_seed: int = 0, max_steps: int = 8
) -> Matrix:
    """Train the corpus' tasks of one name as one source, again and again from scratch.

    Returns:
        The matrix of gains of ``num_sources`` such sources over one more, with ``num_seeds`` seeds each.
    """
    from sslm_platform.scoring import score_intervals
    from sslm_platform.train.model import build_model

    tasks = [task for task in corpus.run.tasks.values() if task.spec.name == name]
    records = []
    for model in range(num_sources + 1):
        for seed in range(num_seeds):
            own_seed = first_seed + model * num_seeds + seed
            built = build_model(corpus, tasks, own_seed)
            for identity, scored in _train_and_score(corpus, built, own_seed, max_steps).items():
                task = built.tasks[identity]
                scores, resamples = score_intervals(task.task, scored, task.labels)
                metric = task.task.primary_name
                values = [scores[metric].value, *resamples]
                records.append(make_record(metric, model, identity, seed, values, len(scored)))
    return matrix_of(records, num_sources)


def _train_and_score(corpus, model, seed: int, max_steps: int):
    from sslm_platform.engine.factory import make_engine
    from sslm_platform.evaluate import outputs_of, score_feed
    from sslm_platform.train.loop import plan_training, train_steps

    spec = corpus.run.spec
    engine = make_engine(spec.engine, spec.optimizer, model.encoder, model.heads)
    training = plan_training(
        corpus, model, spec.schedule, spec.optimizer, seed, "calibration", max_steps=max_steps
    )
    for _ in train_steps(training, engine, training.start()):
        pass
    engine.close()
    for module in (model.encoder, *model.heads.values()):
        module.eval()
    scored = {}
    for identity, task in model.tasks.items():
        split = corpus.task_feed(task.task, spec.seed).splits["test"]
        outputs = outputs_of(model.encoder, {identity: task})
        scored |= score_feed(outputs, split, {identity: task}, corpus.vocabulary.pad_id)
    return scored


def reviews_corpus(folder: Path):
    """Open the quickstart's sentiment streams with a tiny encoder from scratch."""
    from sslm_platform.corpus import Corpus
    from sslm_platform.spec.load import load_run_spec
    from sslm_platform.spec.resolve import resolve

    spec = {
        "name": "identical",
        "seed": 1,
        "encoder": {
            "config": {"model_type": "bert", "hidden_size": 48, "num_hidden_layers": 2,
                       "num_attention_heads": 2, "intermediate_size": 96},
            "tokenizer": {"train": {"vocabulary_size": 2000}},
            "max_length": 64,
        },
        "include": [str(ROOT / "task_specs" / "streams" / "sentiment.yaml")],
        "limit": {"train": 1000, "dev": 50, "test": 300},
        "schedule": {"tokens_per_batch": 1024, "max_steps": 60},
        "optimizer": {"lr": 3.0e-3},
        "engine": {"threads": 1},
    }  # fmt: skip
    path = folder / "identical.yaml"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return Corpus(resolve(load_run_spec(path, [])), folder / "cache")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--matrices", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=8)
    options = parser.parse_args()
    simulated = []
    for num_seeds, seed_sd in ((1, 0.0), (3, 0.0), (5, 0.06), (5, 0.0), (5, 0.2), (10, 0.06)):
        for metric in METRICS:
            began = time.perf_counter()
            world = World(metric=metric, num_seeds=num_seeds, seed_sd=seed_sd, num_resamples=1000)
            simulated.append(asdict(calibrate(world, options.matrices)))
            print(simulated[-1], f"{time.perf_counter() - began:.0f} s", flush=True)
    real = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = reviews_corpus(Path(folder))
        for repeat in range(options.repeats):
            matrix = identical_sources(corpus, "sentiment", 4, 5, first_seed=100 * repeat, max_steps=60)
            real.append(real_row(matrix))
            print(real[-1], flush=True)
    result = {
        "simulated": simulated,
        "identical_sources": real,
        "machine": {"processor": platform.processor() or platform.machine(), "numpy": np.__version__},
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def real_row(matrix: Matrix) -> dict:
    """Return what one matrix of identical sources showed."""
    cells = matrix.all_cells
    return {
        "cells": len(cells),
        "mean_score": float(np.mean([cell.score for cell in cells])),
        "largest_gain": max(abs(cell.estimate.value) for cell in cells),
        "detectable": matrix.detectable,
        "p": [round(cell.p, 4) for cell in cells],
        "intervals_with_0": sum(cell.estimate.low <= 0 <= cell.estimate.high for cell in cells),
        "discoveries": sum(cell.discovery for cell in cells),
    }


if __name__ == "__main__":
    main()
