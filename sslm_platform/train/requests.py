"""What a rank may ask of all ranks: to save, and to stop. All must do so after the same step."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from sslm_platform.engine.base import Engine
from sslm_platform.signals import Pending

SAVE = "save"


@dataclass(slots=True)
class Requests:
    """This rank's requests, and those that were granted: equal on all ranks.

    They travel with the sum of the losses that every step has anyway.

    Attributes:
        pending: the signal that this process got, if any.
        minutes: time between checkpoints by rank 0's clock; None for no such limit.
        rank: this rank; the clocks of the others do not count.
        granted: sums over ranks of what was asked.
    """

    pending: Pending
    minutes: float | None
    rank: int
    granted: Mapping[str, float] = field(default_factory=dict)
    _saved: float = field(default_factory=time.monotonic)

    def asked(self) -> dict[str, float]:
        """Return what this rank asks for now; the same keys on all ranks."""
        late = (
            self.rank == 0
            and self.minutes is not None
            and time.monotonic() - self._saved >= 60.0 * self.minutes
        )
        wanted = {name: float(self.pending.number == number) for name, number in _NUMBERS.items()}
        return {SAVE: float(late), **wanted}

    def agree(self, engine: Engine) -> None:
        """Agree between steps, after what took long. All ranks call."""
        asked = self.asked()
        total = engine.all_reduce(torch.tensor(list(asked.values()), dtype=torch.float64))
        self.granted = dict(zip(asked, total.tolist(), strict=True))

    def saved(self) -> None:
        """Note that a checkpoint has been written."""
        self._saved = time.monotonic()

    @property
    def save(self) -> bool:
        """Whether a checkpoint is due by the clock."""
        return self.granted.get(SAVE, 0.0) > 0

    @property
    def stop(self) -> int | None:
        """The signal by which some rank was asked to stop."""
        return next((n for name, n in _NUMBERS.items() if self.granted.get(name, 0.0) > 0), None)


_NUMBERS = {"SIGTERM": int(signal.SIGTERM), "SIGINT": int(signal.SIGINT)}
