"""Who a worker is, and whether a worker of this machine is gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


def this_process() -> dict[str, Any]:
    """Return what identifies this process among those of all machines.

    ``machine`` is the kernel's boot and the process namespace, in which ``pid`` and ``started`` have a
    meaning: hosts in containers share names, and numbers of processes come again. It is empty where the
    system does not tell.
    """
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "machine": _machine(), "started": _started(pid)}


def is_gone(owner: Mapping[str, Any]) -> bool:
    """Whether a process is known to have ended; False where this machine cannot know."""
    machine = _machine()
    if not machine or owner.get("machine") != machine:
        return False
    return _started(int(owner["pid"])) != owner.get("started")


def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return ""


def _started(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; empty if there is none that still runs."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return "" if state in "ZX" else fields[18]
