"""The run folder: where everything of a run is, and the facts in ``run.json``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from sslm_platform.corpus import Corpus
from sslm_platform.engine.threads import threads_per_rank
from sslm_platform.errors import Problem, RunError
from sslm_platform.files import write_text
from sslm_platform.plugins import host
from sslm_platform.report.records import RunRecord, read_record, write_record
from sslm_platform.scoring import build_metrics
from sslm_platform.spec.load import dump_spec
from sslm_platform.spec.resolved import ResolvedRun
from sslm_platform.spec.schema import EngineSpec

PACKAGES = ("torch", "transformers", "datasets", "deepspeed", "numpy", "scikit-learn", "seqeval")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths below one run's folder."""

    root: Path

    @property
    def record(self) -> Path:
        """Facts of the run."""
        return self.root / "run.json"

    @property
    def spec(self) -> Path:
        """The spec as resolved: one file, absolute paths."""
        return self.root / "spec.yaml"

    @property
    def train(self) -> Path:
        """The joint training."""
        return self.root / "train"

    @property
    def model(self) -> Path:
        """The joint training's best model."""
        return self.train / "model"

    @property
    def models(self) -> Path:
        """Models of other dev scorings."""
        return self.train / "models"

    @property
    def done(self) -> Path:
        """What a finished training says of itself."""
        return self.train / "done.json"

    @property
    def checkpoint(self) -> Path:
        """The joint training's last checkpoint."""
        return self.train / "checkpoint"

    @property
    def scores(self) -> Path:
        """The joint model's test scores."""
        return self.root / "scores.json"

    @property
    def transfer(self) -> Path:
        """Plan, trainings and cells of the transfer matrices."""
        return self.root / "transfer"


def default_cache() -> Path:
    """Return the folder of downloads and tokenized data: ``SSLM_CACHE``, or below the user's cache."""
    given = os.environ.get("SSLM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else (Path(base) if base else Path.home() / ".cache") / "sslm_platform"


def write_run(folder: RunFolder, corpus: Corpus) -> RunRecord:
    """Write the resolved spec and the run's facts; a folder that is no run is refused."""
    run = corpus.run
    # another worker may just be writing the first file, under a name with a dot
    strange = folder.root.exists() and any(not path.name.startswith(".") for path in folder.root.iterdir())
    if strange and not folder.spec.exists():
        raise RunError(Problem(str(folder.root), "is a folder, but not of a run; give another --out"))
    before = read_record(RunRecord, folder.record) if folder.record.exists() else None
    record = RunRecord(
        name=run.spec.name,
        spec=run.spec.model_dump(mode="json", exclude_defaults=True),
        started=before.started if before else datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=before.seconds if before else 0.0,
        seed=run.spec.seed,
        versions=versions(),
        machine=machine(run.spec.engine),
        fingerprints={name: rows.fingerprint for name, rows in corpus.rows.items()},
        tasks={name: corpus.task_info(task, run.spec.seed) for name, task in run.tasks.items()},
        notes=notes(run, corpus),
    )
    write_text(folder.spec, dump_spec(run.spec))
    write_record(record, folder.record)
    return record


def forget_training(folder: RunFolder) -> None:
    """Remove the joint training and its scores."""
    shutil.rmtree(folder.train, ignore_errors=True)
    folder.scores.unlink(missing_ok=True)


def lost_plugins(folder: RunFolder) -> list[Problem]:
    """Return the plugins that a run was begun with and that are not installed any more."""
    if not folder.record.exists():
        return []
    begun = read_record(RunRecord, folder.record).versions
    return [
        Problem(str(folder.root), f"was begun with {name} {version}, which is not installed")
        for name, version in begun.items()
        if name not in (*PACKAGES, "python") and _version(name) is None
    ]


def finish_run(folder: RunFolder, status: Literal["done", "failed"], seconds: float) -> None:
    """Note how a run's work ended, and the time that this process spent on it."""
    record = read_record(RunRecord, folder.record)
    ended = record.model_copy(update={"status": status, "seconds": record.seconds + seconds})
    write_record(ended, folder.record)


def notes(run: ResolvedRun, corpus: Corpus) -> tuple[str, ...]:
    """Return what a reader of the figures must know: subsampling, and warnings about the data."""
    found = []
    limits: dict[str, list[str]] = {}
    for stream in run.spec.streams:
        given = stream.limit.model_dump(exclude_none=True)
        if given:
            text = ", ".join(f"{split} {count}" for split, count in given.items())
            limits.setdefault(text, []).append(stream.name)
    for text, streams in limits.items():
        found.append(f"Subsampled to at most ({text}) examples of each task: {', '.join(streams)}.")
    return (*found, *_signatures(run, corpus), *corpus.warnings)


def _signatures(run: ResolvedRun, corpus: Corpus) -> list[str]:
    """Return how metrics that have variants were computed, and for which tasks."""
    tasks: dict[str, list[str]] = {}
    for task in run.tasks.values():
        for name, metric in build_metrics(task, corpus.labels([task])).items():
            if metric.signature:
                tasks.setdefault(f"{name} ({metric.signature})", []).append(task.identity)
    return [f"{signature}: {', '.join(names)}." for signature, names in tasks.items()]


def versions() -> dict[str, str]:
    """Return versions of Python, the libraries that matter, and every plugin."""
    names = (*PACKAGES, "sslm-platform", *sorted({p.distribution for p in host().loaded}))
    found = {name: version for name in names if (version := _version(name)) is not None}
    return {"python": platform.python_version()} | found


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine(engine: EngineSpec) -> dict[str, str]:
    """Return what the run's speed depends on: the same whatever this process has done before."""
    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": str(os.cpu_count()),
        "threads": str(threads_per_rank(1, engine.threads)),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }
