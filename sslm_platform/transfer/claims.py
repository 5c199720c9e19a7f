"""Claims on units of work in a folder that workers share: no server, no lock, nothing to clean up.

The claims on a unit are files numbered 0, 1, 2, ...; whoever made the last one holds the unit. A claim is
made by ``link(2)``, which is atomic on a local disk and on NFS of any version, fails where the name is taken,
and gives the file its content together with its name (``O_EXCL`` would show an empty file first, and is no
exclusion on old NFS). If the reply of a server is lost, the file's content says who made it.

A claim is alive while its file's modification time moves. That time is the file server's, and so is the
"now" that it is compared with (of a file touched for the purpose): the workers' clocks do not matter. A claim
that has been silent for ``stale_after`` seconds, or whose process is gone from this machine, or that was
released, is overtaken by making the next number. No claim is ever deleted, so that a worker that was slow to
decide cannot overtake another claim than the one that it looked at.

A holder that was overtaken (it was stopped for longer than ``stale_after``) finds the next number when it
asks :meth:`Claims.holds`, and leaves the unit alone.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslm_platform.errors import Problem, RunError
from sslm_platform.files import write_once
from sslm_platform.transfer.owner import is_gone, this_process

log = logging.getLogger(__name__)

STALE_AFTER = 120.0  # seconds; NFS clients may believe a file's old time for 60
BEATS = 5  # heartbeats within that time
RELEASED = 0.0  # modification time of a claim that its owner gave up


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's claim on a unit."""

    unit: str
    number: int
    path: Path


class Claims:
    """One worker's view of the claims below a folder.

    Args:
        folder: shared by all workers.
        stale_after: seconds without a heartbeat after which a claim may be overtaken; the same for all.

    Raises:
        RunError: the folder's file system has no hard links.
    """

    def __init__(self, folder: Path, stale_after: float = STALE_AFTER) -> None:
        self.folder = folder
        self.stale_after = stale_after
        self.owner = {"token": secrets.token_hex(8), **this_process()}
        self._clock = folder / "clocks" / self.owner["token"]

    def take(self, unit: str) -> Claim | None:
        """Return a claim on the unit, or None if another worker holds it."""
        free = self.look(unit)
        return None if free is None else self.make(unit, free)

    def look(self, unit: str) -> int | None:
        """Return the number that the next claim on the unit would have, or None while it is held."""
        last = self._last(unit)
        if last is None:
            return 0
        return None if self._is_alive(last) else int(last.stem) + 1

    def make(self, unit: str, number: int) -> Claim | None:
        """Make a claim, or return None if another worker was faster."""
        path = self._path(unit, number)
        mine = json.dumps({**self.owner, "claim": secrets.token_hex(8)}) + "\n"
        try:
            won = write_once(path, mine) == mine
        except OSError as error:
            what = f"cannot be claimed: {error}; workers need a shared folder with hard links"
            raise RunError(Problem(str(path), what)) from error
        return Claim(unit, number, path) if won else None

    def holds(self, claim: Claim) -> bool:
        """Whether nobody has overtaken the claim."""
        return not self._path(claim.unit, claim.number + 1).exists()

    def holder(self, unit: str) -> str:
        """Return who made the last claim on the unit, for a message."""
        last = self._last(unit)
        content = _content(last)[0] if last else {}
        return f"{content.get('host', 'unknown')}:{content.get('pid', '?')}"

    def release(self, claim: Claim) -> None:
        """Give the unit up: anyone may claim it at once."""
        os.utime(claim.path, (RELEASED, RELEASED))

    @contextmanager
    def beating(self, claim: Claim) -> Iterator[None]:
        """Keep a claim alive for as long as the context lasts, then release it."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(self.stale_after / BEATS):
                try:
                    self.touch(claim.path)
                except OSError as error:  # the next beat may succeed; if none does, the claim is lost
                    log.warning("%s: no heartbeat: %s", claim.path, error)

        thread = threading.Thread(target=beat, name=f"claim on {claim.unit}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            if self.holds(claim):
                self.release(claim)

    def touch(self, path: Path) -> None:
        """Set a file's modification time to the server's now."""
        os.utime(path)

    def now(self) -> float:
        """Return the file server's time, in seconds."""
        self._clock.parent.mkdir(parents=True, exist_ok=True)
        self._clock.touch()
        self.touch(self._clock)
        return self._clock.stat().st_mtime

    def close(self) -> None:
        """Remove what this worker read the time from."""
        self._clock.unlink(missing_ok=True)

    def _is_alive(self, path: Path) -> bool:
        owner, beaten = _content(path)
        if beaten == RELEASED or is_gone(owner):
            return False
        return self.now() - beaten < self.stale_after

    def _last(self, unit: str) -> Path | None:
        paths = (self.folder / unit).glob("[0-9]*.json")
        return max(paths, key=lambda path: int(path.stem), default=None)

    def _path(self, unit: str, number: int) -> Path:
        return self.folder / unit / f"{number}.json"


def _content(path: Path) -> tuple[dict[str, Any], float]:
    """Return who made a claim, and its last heartbeat.

    Opening the file makes an NFS client ask the server for the time, instead of remembering it.
    """
    with path.open(encoding="utf-8") as stream:
        beaten = os.fstat(stream.fileno()).st_mtime
        return json.load(stream), beaten
