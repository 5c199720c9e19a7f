"""Starts the ranks of a run on this machine, and ends them all when one dies."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from sslm_platform.engine.threads import threads_per_rank
from sslm_platform.signals import LAUNCHED, SIGNALS

logger = logging.getLogger(__name__)

_TAIL = 4000


def launch(argv: Sequence[str], num_processes: int) -> int:
    """Run ``python ARGV`` in ``num_processes`` ranks; return the exit code.

    Rank 0 speaks for all. What another rank wrote is shown only if it is the one that failed first.

    Args:
        argv: What follows the interpreter's name, say ``["-m", "sslm_platform.cli", "train", "spec.yaml"]``.
        num_processes: Number of ranks, at least 1.

    Returns:
        0, or the code of the rank that failed first (128 plus the signal's number when one ended it).
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(threads_per_rank(num_processes)))
    # After a signal the ranks end their step and save. A second signal ends them at once.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")
    for name in ("torch.distributed.elastic", *logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # they repeat what is said below
    with tempfile.TemporaryDirectory(prefix="sslm-ranks-") as folder, _own_signals_and_environment():
        try:
            elastic_launch(_config(num_processes, folder), sys.executable)(*argv)
        except ChildFailedError as error:
            rank, failure = _cause(error)
            died = f"was killed by {_signal_name(failure)}" if failure.exitcode < 0 else "failed"
            logger.error("rank %d of %d %s; all were ended", rank, num_processes, died)
            if rank > 0:
                sys.stderr.write(_last_words(rank, Path(folder)))
            return failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
        except SignalException as stop:
            return 128 + int(stop.sigval)
    return 0


@contextmanager
def _own_signals_and_environment() -> Iterator[None]:
    """Undo the launcher's handlers, and tell the ranks, and nobody else, that they have a parent."""
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGHUP, signal.SIGQUIT)}
    os.environ[LAUNCHED] = "1"
    try:
        yield
    finally:
        del os.environ[LAUNCHED]
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def _cause(error: ChildFailedError) -> tuple[int, ProcessFailure]:
    """Return the rank that began it: what others say, that it is gone, may be recorded before it."""
    killed = {
        rank: failure
        for rank, failure in error.failures.items()
        if failure.exitcode < 0 and -failure.exitcode not in SIGNALS  # with these the launcher ends the rest
    }
    return next(iter(killed.items()), error.get_first_failure())


def _signal_name(failure: ProcessFailure) -> str:
    name = signal.Signals(-failure.exitcode).name
    return f"{name} (out of memory?)" if name == "SIGKILL" else name


def _config(num_processes: int, folder: str) -> LaunchConfig:
    quiet = dict.fromkeys(range(1, num_processes), Std.ALL)
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # a free port, found when it is bound
        local_addr="localhost",  # a host's own name need not resolve
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=folder, redirects=quiet),
    )


def _last_words(rank: int, folder: Path) -> str:
    """Return the end of what a rank wrote."""
    paths = [path for name in ("stdout", "stderr") for path in sorted(folder.rglob(f"{rank}/{name}.log"))]
    return "".join(path.read_text(encoding="utf-8", errors="replace")[-_TAIL:] for path in paths)
