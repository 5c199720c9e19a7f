"""How many CPU threads a rank may use. One too many costs more than one too few: they wait for each other."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores(quota_file: Path = _QUOTA) -> int:
    """Return the cores that this process may use: its affinity, and its container's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def use_threads(asked: int | None = None) -> None:
    """Let this process use as many CPU threads as were asked for, or its share of its host's cores."""
    import torch

    ranks_on_host = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or 1)
    if asked is None and "OMP_NUM_THREADS" in os.environ:
        return  # torch has read it
    torch.set_num_threads(threads_per_rank(ranks_on_host, asked))


def threads_per_rank(ranks_on_host: int, asked: int | None = None) -> int:
    """Return the number of threads of each rank: as asked for, or an equal share of the cores."""
    return asked or max(1, available_cores() // ranks_on_host)
