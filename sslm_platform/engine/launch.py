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
from sslm_platform.signals import LAUNCHED, LOST_PEER, SIGNALS

logger = logging.getLogger(__name__)

_TAIL = 4000
_AT_ONCE = 10  # seconds


def launch(argv: Sequence[str], num_processes: int) -> int:
    """Run ``python ARGV`` in ``num_processes`` ranks; return the exit code.

    Rank 0 speaks for all. What another rank wrote is shown only if it failed for a reason of its own.

    Args:
        argv: What follows the interpreter's name, say ``["-m", "sslm_platform.cli", "train", "spec.yaml"]``.
        num_processes: Number of ranks, at least 1.

    Returns:
        0, or the code of the rank that failed first (128 plus the signal's number when one ended it).
    """
    for name in ("torch.distributed.elastic", *logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # they repeat what is said below
    with (
        tempfile.TemporaryDirectory(prefix="sslm-ranks-") as folder,
        _of_ranks_alone(num_processes),
    ):
        try:
            elastic_launch(_config(num_processes, folder), sys.executable)(*argv)
        except ChildFailedError as error:
            rank, failure = _cause(error)
            died = f"was killed by {_signal_name(failure)}" if failure.exitcode < 0 else "failed"
            logger.error("rank %d of %d %s; all were ended", rank, num_processes, died)
            shown = {_last_words(other, Path(folder)): None for other in _to_show(rank, error)}
            sys.stderr.write("".join(shown))  # what several say alike, once
            return failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
        except SignalException as stop:
            return 128 + int(stop.sigval)
    return 0


@contextmanager
def _of_ranks_alone(num_processes: int) -> Iterator[None]:
    """Undo the launcher's handlers, and tell the ranks, and nobody else, what they have of their parent."""
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGHUP, signal.SIGQUIT)}
    given = {
        LAUNCHED: "1",
        "OMP_NUM_THREADS": str(threads_per_rank(num_processes)),
        # after a signal the ranks end their step and save; a second signal ends them at once
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "600",
    }
    added = given.keys() - os.environ.keys()
    os.environ |= {name: given[name] for name in added}
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def _cause(error: ChildFailedError) -> tuple[int, ProcessFailure]:
    """Return the rank that began it: what others say, that it is gone, may be recorded before it."""
    began = min(failure.timestamp for failure in error.failures.values())

    def place(item: tuple[int, ProcessFailure]) -> tuple[bool, bool, bool, int]:
        rank, failure = item
        late = failure.timestamp > began + _AT_ONCE  # the launcher killed what did not end
        return late, _is_of_another(failure), failure.exitcode > 0, rank

    return min(error.failures.items(), key=place)


def _to_show(cause: int, error: ChildFailedError) -> list[int]:
    """Return the ranks whose words are not on the screen yet and tell why: if rank 0 has told it, none."""
    own = {rank for rank, f in error.failures.items() if f.exitcode > 0 and not _is_of_another(f)}
    return sorted(({cause} | (own if 0 not in own else set())) - {0})


def _is_of_another(failure: ProcessFailure) -> bool:
    """Whether a rank ended because another did: it lost its peer, was ended, or was aborted."""
    ended = {code for number in SIGNALS for code in (-number, 128 + number)}
    return failure.exitcode in {LOST_PEER, -signal.SIGABRT, *ended}


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
