"""From a run to measured cells: by this process, or by workers that an executor starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from sslm_platform.corpus import Corpus
from sslm_platform.engine.determinism import keep_deterministic
from sslm_platform.engine.threads import threads_per_rank, use_threads
from sslm_platform.errors import RunError, suggest
from sslm_platform.jobs import WorkerCommand
from sslm_platform.plugins import host
from sslm_platform.report.estimates import in_words
from sslm_platform.report.records import write_record
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.joint import joint_id
from sslm_platform.train.observers import Notifier, TerminalProgress, observing
from sslm_platform.transfer.claims import STALE_AFTER, Claims
from sslm_platform.transfer.costs import estimate, learned_rates
from sslm_platform.transfer.plan import Plan
from sslm_platform.transfer.rates import known_rates, remember
from sslm_platform.transfer.training import Lab, train_source
from sslm_platform.transfer.units import Shard, units_of
from sslm_platform.transfer.worker import Worker


@dataclass(frozen=True, slots=True)
class Work:
    """How cells are measured; none of it changes a figure.

    Attributes:
        shard: this process is one of several workers, and begins with its share; None for the executor's.
        num_processes: ranks of each source training; more than one needs ``engine: {name: deepspeed}``.
        stale_after: seconds of silence after which another worker's claim is overtaken.
    """

    shard: Shard | None = None
    num_processes: int = 1
    stale_after: float = STALE_AFTER


def run_transfer(
    corpus: Corpus, plan: Plan, folder: RunFolder, console: Console, work: Work | None = None
) -> bool:
    """Measure every planned cell that has no finished record; a cell that fails is recorded as such.

    Returns:
        Whether there was anything left to do.
    """
    work = work or Work()
    own = joint_id(corpus, corpus.run.spec.seed)
    write_record(plan.record(corpus, own), folder.transfer / "plan.json")
    job = TransferJob(open_lab(corpus, folder, console, work.num_processes), plan, work)
    if work.shard is not None or not job.num_units:
        job.work()
        return job.num_units > 0
    rates = known_rates(corpus)
    if rates is not None:
        expected = estimate(job.lab, plan, rates)
        write_record(expected, folder.transfer / "estimate.json")
        job.say(f"transfer: {in_words(expected)}")
    corpus.run.executor.build().run(job)
    if rates is not None:
        remember(corpus, learned_rates(job.lab, rates))
    return True


class TransferJob:
    """What an executor gets done; see :class:`~sslm_platform.interfaces.Job`."""

    def __init__(self, lab: Lab, plan: Plan, work: Work) -> None:
        self.lab = lab
        self.plan = plan
        self.how = work
        self._own = self._worker()  # which knows what had failed before this run, and tries that again
        self.num_units = len(self._own.open)

    def work(self) -> None:
        """Do in this process what no other worker does, until all units are done."""
        worker = self._own
        num_open = sum(len(worker.open_cells(unit)) for unit in worker.open)
        defined = sum(not cell.undefined for cell in self.plan.cells.values())
        self.say(f"transfer: {num_open} cells to measure, {defined - num_open} done before")
        progress = TerminalProgress(self.lab.console)
        with observing(host(), progress), progress.live():
            worker.run()

    def worker(self, index: int, count: int) -> WorkerCommand:
        """Return how to start one of ``count`` workers, ``index`` from 0."""
        lab = self.lab
        argv = ["-m", "sslm_platform", "transfer", "run", str(lab.folder.spec.resolve())]
        argv += ["--out", str(lab.folder.root.resolve()), "--cache", str(Path(lab.corpus.cache).resolve())]
        argv += ["--shard", f"{index + 1}/{count}", "--nproc", str(self.how.num_processes)]
        argv += ["--stale-after", str(self.how.stale_after)]
        return WorkerCommand(tuple(argv), {"OMP_WAIT_POLICY": "PASSIVE"})

    def threads(self, num_workers: int) -> int:
        """Return how many CPU threads each of some workers on this machine should use."""
        return threads_per_rank(num_workers * self.how.num_processes, self.lab.engine.threads)

    def say(self, text: str) -> None:
        """Print a line of progress."""
        self.lab.console.print(text, highlight=False, soft_wrap=True)

    def _worker(self) -> Worker:
        units = units_of(self.plan)
        if self.how.shard is not None:
            units = tuple(self.how.shard.order(units))
        claims = Claims(self.lab.folder.transfer / "claims", self.how.stale_after)
        return Worker(self.lab, units, claims)


def train_planned(lab: Lab, plan: Plan, training: str) -> Path:
    """Train one of the plan's sources in this process, which may be a rank of several; return its model.

    Raises:
        RunError: the plan has no training of this id.
    """
    trainings = plan.trainings
    if training not in trainings:
        raise RunError(f"the plan has no training {training!r}{suggest(training, trainings)}")
    lab = replace(lab, engine=lab.corpus.run.spec.engine)
    progress = TerminalProgress(lab.console)
    with observing(host(), progress), progress.live():
        return train_source(lab, trainings[training])


def open_lab(corpus: Corpus, folder: RunFolder, console: Console, num_processes: int = 1) -> Lab:
    """Return what measuring and predicting need."""
    engine = corpus.run.spec.engine
    keep_deterministic(engine.deterministic)
    use_threads(engine.threads)
    return Lab(
        corpus,
        folder,
        console,
        Notifier(host()),
        # one process measures cells, whatever engine the joint training has
        EngineSpec(precision=engine.precision, threads=engine.threads, deterministic=engine.deterministic),
        torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        num_processes,
    )
