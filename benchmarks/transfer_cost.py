"""What transfer matrices cost, against encoding alone, a training for each cell, and doing it all again.

Ratios of time are those of the packaged MiniLM on four genres of sentiment; counts (trainings, cells, tokens)
and the re-run are those of a tiny encoder on synthetic domains.

    python benchmarks/transfer_cost.py [--quick] [--rounds 5] [--naive 1] [--domains 16] [--threads 2]
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml
from measuring import TASK_SPECS, Finding, alternate, arguments, median, ratios, save
from rich.console import Console
from synthetic_domains import matrix_spec

from sslm_platform.corpus import Corpus
from sslm_platform.evaluate import EVALUATION_SEED, evaluation_batches, make_batch
from sslm_platform.model.multitask import encode_inputs
from sslm_platform.report.records import read_cells, read_trainings
from sslm_platform.runs import open_run
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.model import build_model
from sslm_platform.transfer.cells import plan_cells
from sslm_platform.transfer.claims import Claims
from sslm_platform.transfer.plan import Plan
from sslm_platform.transfer.runner import open_lab
from sslm_platform.transfer.units import units_of
from sslm_platform.transfer.worker import Worker

SENTIMENT = {"task": "sentiment"}
PROBES = [
    {"source_stage": "head", "target_stage": "zero_shot", "sources": SENTIMENT, "targets": SENTIMENT},
    {"source_stage": "none", "target_stage": "probe", "targets": SENTIMENT},
]
FULL = [
    {"source_stage": "full", "target_stage": "zero_shot", "sources": SENTIMENT, "targets": SENTIMENT,
     "epochs": 2},
]  # fmt: skip


def main() -> None:
    options = arguments(__doc__, rounds=(5, 1), naive=(1, 1), domains=(16, 3))
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        findings = [
            *probe_matrix(Path(folder) / "probes", options),
            *full_matrix(Path(folder) / "full", options),
            *counted(Path(folder) / "counted", options.domains),
        ]
    save(options, "transfer_cost", "What transfer matrices cost", findings)


def probe_matrix(folder: Path, options) -> list[Finding]:
    """Measure the probes of all domains, and their heads on each other, against encoding each domain once."""
    corpus = sentiment(folder, PROBES, options)
    cells = {c.id: c for c in plan_cells(corpus).cells.values() if c.key.source_stage in ("none", "head")}
    model = build_model(corpus, list(corpus.run.tasks.values()), 0)
    turn = iter(range(1000))

    def matrix() -> float:
        began = time.perf_counter()
        measure(corpus, Plan(cells), folder / str(next(turn)))
        return time.perf_counter() - began

    def encoding() -> float:
        began = time.perf_counter()
        build_model(corpus, list(corpus.run.tasks.values()), 0)  # the other side loads the encoder too
        encode_all(corpus, model)
        return time.perf_counter() - began

    matrix(), encoding()  # warm-up
    found = alternate({"matrix": matrix, "encoding": encoding}, options.rounds)
    what = f"{len(cells)} probe cells of {len(corpus.run.tasks)} domains / encoding each domain once"
    return [median(what, ratios(found["matrix"], found["encoding"]), "×", at_most=1.15)]


def full_matrix(folder: Path, options) -> list[Finding]:
    """Measure an N × N matrix of trained sources, against a training for each cell."""
    corpus = sentiment(folder, FULL, options)
    cells = {c.id: c for c in plan_cells(corpus).cells.values() if c.key.source_stage == "full"}
    turn = iter(range(1000))

    def shared() -> float:
        began = time.perf_counter()
        measure(corpus, Plan(cells), folder / str(next(turn)))
        return time.perf_counter() - began

    def naive() -> float:
        began = time.perf_counter()
        for cell in cells.values():
            measure(corpus, Plan({cell.id: cell}), folder / str(next(turn)))
        return time.perf_counter() - began

    found = alternate({"shared": shared, "naive": naive}, options.naive)
    num_domains = len(corpus.run.tasks)
    what = f"a training for each of {len(cells)} cells / one for each of {num_domains} sources"
    return [median(what, ratios(found["naive"], found["shared"]), "×", at_least=num_domains / 2)]


def counted(folder: Path, num_domains: int) -> list[Finding]:
    """Count trainings and cells of a matrix, do it all again, and count those of one more domain."""
    folder.mkdir(parents=True)
    spec = matrix_spec(folder, num_domains + 1)
    before = count(run(folder, spec, num_domains))
    seconds, changed = again(folder)
    after = count(run(folder, spec, num_domains + 1, restart=True))
    first, added = num_domains**2, 2 * num_domains + 1
    return [
        Finding(f"trainings of {first} full/zero_shot cells", before["trainings"], at_most=num_domains),
        Finding("their evaluations", before["full/zero_shot"], at_most=first),
        Finding("trainings that a domain more costs", after["trainings"] - before["trainings"], at_most=1),
        Finding(
            "its full/zero_shot cells", after["full/zero_shot"] - before["full/zero_shot"], at_most=added
        ),
        Finding(
            "its tokens on the pretrained encoder / those of its row and column",
            (after["pretrained tokens"] - before["pretrained tokens"]) / row_and_column(folder, spec),
            "×",
            at_most=1.0,
        ),
        Finding(f"a re-run of {num_domains} × {num_domains}, nothing new", seconds, "s", at_most=10.0),
        Finding("files of its report that changed", float(len(changed)), at_most=0),
    ]


def sentiment(folder: Path, blocks: list[dict], options) -> Corpus:
    """Return the quickstart's sentiment streams with some transfer blocks."""
    folder.mkdir(parents=True)
    content = yaml.safe_load((TASK_SPECS / "quickstart.yaml").read_text(encoding="utf-8"))
    content |= {"include": [str(TASK_SPECS / "streams" / "sentiment.yaml")], "transfer": blocks}
    content |= {"tasks": SENTIMENT, "engine": {"threads": options.threads}}
    if options.quick:
        content["limit"] = {"train": 16, "dev": 8, "test": 8}
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return open_run(path, out=folder / "run").corpus


def measure(corpus: Corpus, plan: Plan, folder: Path) -> None:
    lab = open_lab(corpus, RunFolder(folder), Console(file=io.StringIO()))
    Worker(lab, units_of(plan), Claims(folder / "transfer" / "claims")).run()
    failed = [record.error for record in read_cells(folder / "transfer").values() if record.status != "done"]
    assert not failed, failed


def encode_all(corpus: Corpus, model) -> None:
    """Encode every split of every domain once, and keep nothing."""
    model.encoder.eval()
    with torch.no_grad():
        for task, part in model.tasks.items():
            for split in corpus.task_feed(part.task, corpus.run.spec.seed).splits.values():
                for rows in evaluation_batches(split.lengths_N):
                    pad_id = corpus.vocabulary.pad_id
                    inputs = make_batch(split, rows, {task: part}, pad_id, EVALUATION_SEED, 0).inputs
                    encode_inputs(model.encoder, inputs)


def run(folder: Path, spec: dict, num_domains: int, *, restart: bool = False) -> Path:
    """Do a whole run of the first domains; ``restart`` where the joint training has others than before."""
    content = spec | {"streams": spec["streams"][:num_domains]}
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = open_run(path, out=folder / "run", cache=folder / "cache", console=Console(file=io.StringIO()))
    done.train(restart)
    done.transfer()
    done.report()
    return folder / "run"


def count(run: Path) -> dict[str, int]:
    cells = read_cells(run / "transfer").values()
    assert all(cell.status == "done" for cell in cells)
    pretrained = [cell for cell in cells if cell.key.source_stage in ("none", "head")]
    return {
        "trainings": len(read_trainings(run / "transfer")),
        "full/zero_shot": sum(cell.key.protocol == "full/zero_shot" for cell in cells),
        "pretrained tokens": sum(cell.num_tokens for cell in pretrained),
    }


def row_and_column(folder: Path, spec: dict) -> int:
    """Return the tokens of the last domain, and of the others' test splits, each once."""
    corpus = open_run(folder / "spec.yaml", out=folder / "run", cache=folder / "cache").corpus
    *others, last = corpus.run.tasks.values()
    feeds = [corpus.task_feed(task, spec["seed"]).splits for task in others]
    own = corpus.task_feed(last, spec["seed"]).splits
    return int(sum(s["test"].lengths_N.sum() for s in feeds) + sum(s.lengths_N.sum() for s in own.values()))


def again(folder: Path) -> tuple[float, list[str]]:
    """Do the run again from the command line; return the time, and the report's files that changed."""
    files = folder / "run" / "report"
    before = digests(files)
    command = [sys.executable, "-m", "sslm_platform", "run", str(folder / "spec.yaml")]
    command += ["--out", str(folder / "run"), "--cache", str(folder / "cache")]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    after = digests(files)
    return seconds, sorted(name for name in before | after if before.get(name) != after.get(name))


def digests(folder: Path) -> dict[str, str]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


if __name__ == "__main__":
    main()
