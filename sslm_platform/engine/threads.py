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


def threads_per_rank(ranks_on_host: int, asked: int | None = None) -> int:
    """Return the number of threads of each rank: as asked for, or an equal share of the cores."""
    return asked or max(1, available_cores() // ranks_on_host)
