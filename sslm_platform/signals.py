"""SIGTERM and SIGINT: the first asks to stop, at once or at the next good moment; a second ends all."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sslm_platform.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Batch systems signal every process of a job, and a launcher passes its own on: that is still the first.
SAME_SECONDS = 1.0
LAUNCHED = "SSLM_LAUNCHED"  # in the environment of processes whose parent says how to go on
LOST_PEER = 75  # exit code of a rank that ends because another one is gone


@dataclass(slots=True)
class Pending:
    """The signal that came, None before."""

    number: int | None = None


@contextmanager
def interrupting() -> Iterator[None]:
    """Make the signals raise :class:`~sslm_platform.errors.Interrupted` where the program stands."""

    def interrupt(number: int) -> None:
        raise Interrupted(number)

    with _handling(interrupt):
        yield


@contextmanager
def deferring() -> Iterator[Pending]:
    """Only note the signals. In another thread than the main one, which cannot, nothing is ever pending."""
    pending = Pending()

    def note(number: int) -> None:
        pending.number = number

    with _handling(note):
        yield pending


@contextmanager
def _handling(act: Callable[[int], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: float | None = None

    def handle(number: int, _: Any) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            act(number)
        elif time.monotonic() - first > SAME_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
