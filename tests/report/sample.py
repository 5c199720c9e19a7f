"""A made-up but realistic run folder: every protocol, baseline, and kind of gap that a report must show.

``python tests/report/sample.py FOLDER`` writes it and renders the report.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sslm_platform.files import write_text
from sslm_platform.report.records import (
    CellKey,
    CellRecord,
    MetricValue,
    PlannedCell,
    RunRecord,
    TaskInfo,
    TransferPlan,
    write_record,
)
from sslm_platform.statistics import percentile_interval, resample_counts

DOMAINS = ("tweets", "movies", "products", "news")
TAGGING = ("addresses", "people", "companies")
SEEDS = (1,)
NUM_TEST = 400
METRIC = "macro_f1"


def info(name: str, domain: str, num_train: int) -> TaskInfo:
    return TaskInfo(
        identity=f"{name}@{domain}",
        name=name,
        domain=domain,
        stream=domain,
        tags={"language": "en"},
        num_train=num_train,
        num_dev=100,
        num_test=NUM_TEST,
        num_available=4 * num_train,
    )


def make_tasks() -> dict[str, TaskInfo]:
    infos = [
        *(info("sentiment", domain, 1500) for domain in DOMAINS),
        *(info("tagging", domain, 600) for domain in TAGGING),
        *(info("mlm", domain, 2000) for domain in ("tweets", "movies", "docstrings")),
    ]
    return {task.identity: task for task in infos}


PLAIN_KEY = {"source_stage", "target_stage", "source", "source_tasks", "target", "seed"}


def cell_id(key: CellKey) -> str:
    return hashlib.sha256(key.model_dump_json(include=PLAIN_KEY).encode()).hexdigest()[:16]


def make_key(stages: str, source: str, tasks: Iterable[str], target: str, seed: int) -> CellKey:
    source_stage, target_stage = stages.split("/")
    return CellKey(
        source_stage=source_stage,
        target_stage=target_stage,
        source=source,
        source_tasks=tuple(tasks),
        target=target,
        seed=seed,
    )


def make_plan(
    domains: tuple[str, ...] = DOMAINS, tagging: tuple[str, ...] = TAGGING, seeds: tuple[int, ...] = SEEDS
) -> TransferPlan:
    planned: dict[str, PlannedCell] = {}

    def add(key: CellKey, baselines: dict[str, CellKey] | None = None, *, is_baseline: bool) -> None:
        names = {name: cell_id(other) for name, other in (baselines or {}).items()}
        cell = PlannedCell(id=cell_id(key), key=key, baselines=names, is_baseline=is_baseline)
        planned.setdefault(cell.id, cell)
        for other in (baselines or {}).values():
            add(other, is_baseline=True)

    sentiment = tuple(f"sentiment@{domain}" for domain in domains)
    tags = tuple(f"tagging@{domain}" for domain in tagging)
    mlm = tuple(f"mlm@{domain}" for domain in ("tweets", "movies", "docstrings"))
    for seed in seeds:
        for source in sentiment:
            for target in sentiment:
                others = {
                    "majority": make_key("majority/zero_shot", "", (), target, seed),
                    "tfidf": make_key("tfidf/zero_shot", source, (source,), target, seed),
                    "head": make_key("head/zero_shot", source, (source,), target, seed),
                }
                add(make_key("full/zero_shot", source, (source,), target, seed), others, is_baseline=False)
        sources = {"sentiment": sentiment, "tagging": tags, "mlm": mlm, "joint": (*sentiment, *tags, *mlm)}
        for source, tasks in sources.items():
            for target in (*sentiment, *tags):
                others = {
                    "pretrained": make_key("none/probe", "", (), target, seed),
                    "majority": make_key("majority/probe", "", (), target, seed),
                }
                if target in sentiment:
                    others["tfidf"] = make_key("tfidf/probe", target, (target,), target, seed)
                add(make_key("full/probe", source, tasks, target, seed), others, is_baseline=False)
    return TransferPlan(cells=tuple(planned.values()), tasks=make_tasks())


LEVELS = {"majority": 0.34, "tfidf": 0.66, "head": 0.76, "none": 0.72, "full": 0.80}
SOURCE_EFFECT = {"sentiment": 0.05, "tagging": -0.06, "mlm": 0.015, "joint": 0.04}


def accuracy_of(key: CellKey) -> float:
    level = LEVELS[key.source_stage] + 0.05 * np.sin(zlib.crc32(key.target.encode()))
    if key.target_stage == "zero_shot" and key.source_stage != "majority":
        level += 0.05 if key.source == key.target else -0.07 * (1 + np.sin(zlib.crc32(key.source.encode())))
    if key.source in SOURCE_EFFECT:
        same = key.source == "joint" or key.target.startswith(key.source)
        level += -0.08 + (abs(SOURCE_EFFECT[key.source]) + 0.02 if same else SOURCE_EFFECT[key.source])
    return float(np.clip(level, 0.05, 0.97))


def make_record(key: CellKey, num_resamples: int = 500) -> CellRecord:
    """Score simulated examples; models of one target share the examples' difficulty, so they are paired."""
    target_seed = zlib.crc32(key.target.encode())
    difficulty_N = np.random.default_rng(target_seed).random(NUM_TEST)
    noise_N = np.random.default_rng(zlib.crc32(key.model_dump_json(include=PLAIN_KEY).encode())).normal(
        0, 0.08, NUM_TEST
    )
    correct_N = (difficulty_N + noise_N) < accuracy_of(key)
    resamples_R = resample_counts(NUM_TEST, num_resamples, target_seed) @ correct_N / NUM_TEST
    low, high = percentile_interval(resamples_R)
    value = MetricValue(value=float(correct_N.mean()), low=low, high=high)
    return CellRecord(
        id=cell_id(key),
        key=key,
        status="done",
        metric=METRIC,
        scores={METRIC: value, "accuracy": value},
        resamples=tuple(resamples_R),
        num_train=1500 * len(key.source_tasks),
        num_test=NUM_TEST,
        seconds=0.4 if key.source_stage in ("majority", "tfidf") else 42.0,
        num_tokens=0 if key.source_stage in ("majority", "tfidf", "none") else 61000,
        environment={"torch": "2.13.0", "threads": "2"},
    )


def failed(record: CellRecord) -> CellRecord:
    error = 'Traceback (most recent call last):\n  File "x.py", line 1\nRuntimeError: loss is nan at step 12'
    return record.model_copy(update={"status": "failed", "error": error, "scores": {}, "resamples": ()})


def make_records(plan: TransferPlan) -> dict[str, CellRecord]:
    """Record every planned cell but a few: two never ran, one failed, one baseline failed."""
    records = {planned.id: make_record(planned.key) for planned in plan.cells}

    def ids(stages: str, source: str, target: str) -> list[str]:
        found = (c for c in plan.cells if c.key.protocol == stages)
        return [c.id for c in found if c.key.source == source and c.key.target == target]

    for id_ in ids("full/zero_shot", "sentiment@news", "sentiment@tweets"):
        del records[id_]
    for id_ in ids("full/probe", "joint", "tagging@people"):
        del records[id_]
    for id_ in ids("full/probe", "mlm", "sentiment@products"):
        records[id_] = failed(records[id_])
    for id_ in ids("none/probe", "", "tagging@companies"):
        records[id_] = failed(records[id_])
    return records


def metrics_lines(tasks: Iterable[str], num_steps: int = 90) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    names = sorted(tasks)
    lines: list[dict[str, Any]] = []
    for step in range(1, num_steps + 1):
        task = names[int(rng.integers(len(names)))]
        start, end = (7.0, 3.2) if task.startswith("mlm") else (0.7, 0.28)
        loss = end + (start - end) * np.exp(-step / 25) + 0.04 * rng.normal() * start
        lines.append(
            {
                "kind": "step",
                "step": step,
                "num_steps": num_steps,
                "phase": "train",
                "learning_rate": 2e-4 * min(step / 9, (num_steps - step) / (num_steps - 9)),
                "loss": loss,
                "losses": {task: loss},
                "weights": {task: 1.0},
                "gradient_norms": {"encoder": 0.8, task: 0.3},
                "slots": {task: 1},
                "num_tokens": int(1880 + rng.integers(150)),
                "num_padded_tokens": 2048,
                "seconds": float(1.4 + 0.1 * rng.random()),
            }
        )
        if step % 30 == 0:
            scores = {name: {METRIC: 0.84 - 0.4 * np.exp(-step / 30)} for name in names if "mlm" not in name}
            majority = {name: {METRIC: 0.34} for name in scores}
            lines.append(
                {"kind": "evaluation", "step": step, "scores": scores, "majority": majority, "selection": 0.4}
            )
    return lines


def make_scores(tasks: Iterable[str]) -> list[dict[str, Any]]:
    result = []
    for task in sorted(tasks):
        is_lm = task.startswith("mlm")
        metric, value, floor = ("perplexity", 24.1, 812.0) if is_lm else (METRIC, 0.86, 0.34)
        width = 0.05 * value
        result.append(
            {
                "task": task,
                "metric": metric,
                "higher_is_better": not is_lm,
                "best": 1.0,
                "scores": {metric: {"value": value, "low": value - width, "high": value + width}},
                "majority": {metric: {"value": floor, "low": floor, "high": floor}},
                "num_test": NUM_TEST,
            }
        )
    return result


def write_sample(
    folder: Path, plan: TransferPlan | None = None, records: dict[str, CellRecord] | None = None
) -> Path:
    """Write a run folder, by default the full sample."""
    plan = plan or make_plan()
    records = make_records(plan) if records is None else records
    tasks = plan.tasks
    spec = {"name": "quickstart", "seed": 13, "schedule": {"max_steps": 90, "tokens_per_batch": 2048}}
    run = RunRecord(
        name="quickstart",
        spec=spec,
        status="done",
        started="2026-02-03T10:00:00Z",
        seconds=214.5,
        seed=13,
        versions={"sslm-platform": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        machine={"cpu": "2 cores", "memory": "8 GiB", "platform": "Linux"},
        fingerprints={t.stream: hashlib.sha256(t.stream.encode()).hexdigest() for t in tasks.values()},
        tasks=tasks,
        notes=("Subsampled for time: at most 1,500 training examples a domain.",),
    )
    write_record(run, folder / "run.json")
    write_text(folder / "spec.yaml", "name: quickstart\nseed: 13\nschedule:\n  max_steps: 90\n")
    lines = [json.dumps(line) for line in metrics_lines(tasks)]
    write_text(folder / "train" / "metrics.jsonl", "\n".join(lines) + '\n{"kind": "step", "st')
    write_text(folder / "scores.json", json.dumps({"scores": make_scores(tasks)}))
    write_record(plan, folder / "transfer" / "plan.json")
    for record in records.values():
        write_record(record, folder / "transfer" / "cells" / record.id / "record.json")
    return folder


if __name__ == "__main__":
    from sslm_platform.report.render import Report

    print(Report.read(write_sample(Path(sys.argv[1]))).write())
