"""What a training says of itself."""

import io
import re

from rich.console import Console

from sslm_platform.steps import StepRecord
from sslm_platform.train.observers import TerminalProgress


def step(number: int, num_steps: int = 4, seconds: float = 2.0) -> StepRecord:
    return StepRecord(
        step=number,
        num_steps=num_steps,
        phase="source a@b",
        learning_rate=1.0,
        loss=1.0,
        losses={"a@b": 1.0},
        weights={"a@b": 1.0},
        gradient_norms={},
        slots={"f": 1},
        probabilities={"f": 1.0},
        num_tokens=100,
        num_padded_tokens=100,
        seconds=seconds,
    )


def test_a_second_training_of_one_name_starts_its_own_clock(monkeypatch):
    now = iter(range(0, 1000, 2))
    monkeypatch.setattr("sslm_platform.train.observers.time.monotonic", lambda: float(next(now)))
    said = io.StringIO()
    progress = TerminalProgress(Console(file=said, width=200))
    monkeypatch.setattr("sslm_platform.train.observers.PLAIN_SECONDS", 0.0)
    for _ in range(2):  # say, two seeds of one source
        for number in range(1, 5):
            progress.sslm_step_ended(step(number))
    lines = said.getvalue().splitlines()
    assert [re.findall(r"(\d+) s left", line) for line in lines] == [["6"], ["4"], ["2"], ["0"]] * 2
