"""Who watches a training: ``metrics.jsonl``, and the terminal. Both are plugins of the host's hooks."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sslm_platform.files import write_text
from sslm_platform.hookspecs import hookimpl
from sslm_platform.plugins import Host
from sslm_platform.report.records import CellRecord
from sslm_platform.steps import StepRecord

log = logging.getLogger(__name__)

PLAIN_SECONDS = 10.0


class MetricsFile:
    """Appends every step and every dev scoring to ``metrics.jsonl``."""

    def __init__(self, path: Path, first_step: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._forget_after(first_step)
        self._stream = path.open("a", encoding="utf-8")

    @hookimpl
    def sslm_step_ended(self, record: StepRecord) -> None:
        """Write one step."""
        self.write({"kind": "step", **asdict(record)})

    def write(self, content: dict[str, Any]) -> None:
        """Write one line."""
        self._stream.write(json.dumps(content) + "\n")
        self._stream.flush()

    def flush(self) -> None:
        """Wait until all lines are on the disk: a checkpoint counts on those of its steps."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _forget_after(self, step: int) -> None:
        """Drop lines of steps that the checkpoint does not have: they are about to be made again."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except json.JSONDecodeError:
                break  # the torn last line of a killed run
        write_text(self.path, "".join(f"{line}\n" for line in kept))


class TerminalProgress:
    """A live line on a terminal, plain lines elsewhere: rate, remaining time, each task's last loss."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._losses: dict[str, float] = {}
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._said = 0.0
        self._began = (0, time.monotonic())
        self._step = 0
        self._phase = ""
        self._tokens = 0

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the live line for as long as the context lasts."""
        if not self.console.is_terminal:
            yield
            return
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:>4}/{task.total}"),
            TextColumn("{task.fields[rate]:>6.0f} tokens/s"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[losses]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as self._progress:
            yield
        self._progress = None

    @hookimpl
    def sslm_step_ended(self, record: StepRecord) -> None:
        """Show one step."""
        now = time.monotonic()
        if record.phase != self._phase or record.step <= self._step:
            self._phase, self._tokens, self._losses = record.phase, 0, {}
            self._began = (record.step - 1, now - record.seconds)
            self._start_bar(record)
        self._step = record.step
        self._tokens += record.num_tokens
        if record.skipped_for:
            self._say_skipped(record)
        else:
            self._losses.update(record.losses)
        seconds = max(now - self._began[1], 1e-9)
        rate = self._tokens / seconds
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task, completed=record.step, rate=rate, losses=_losses(self._losses, 4)
            )
        elif now - self._said >= PLAIN_SECONDS or record.step == record.num_steps:
            self._said = now
            left = seconds / (record.step - self._began[0]) * (record.num_steps - record.step)
            self.console.print(
                f"{record.phase}: step {record.step}/{record.num_steps}, {rate:.0f} tokens/s,"
                f" {left:.0f} s left; loss {_losses(self._losses, 5)}",
                highlight=False,
                soft_wrap=True,
            )

    @hookimpl
    def sslm_cell_finished(self, record: CellRecord) -> None:
        """Say what a cell measured, or why it failed."""
        key = record.key
        name = f"{key.protocol}: {key.source or 'no source'} → {key.target}"
        if record.status == "failed":
            self.console.print(f"[red]failed[/red]  {name}: {record.error}", highlight=False, soft_wrap=True)
            return
        score = record.scores[record.metric]
        interval = f"({score.low:.3f} to {score.high:.3f})"
        self.console.print(
            f"[dim]cell[/dim]    {name}: {record.metric} {score.value:.3f} {interval}",
            highlight=False,
            soft_wrap=True,
        )

    def _say_skipped(self, record: StepRecord) -> None:
        kind = "loss" if record.skipped_for[0] in record.losses else "gradient"
        self.console.print(
            f"{record.phase}: step {record.step} skipped: the {kind} of {', '.join(record.skipped_for)}"
            f" is not finite ({record.num_skipped} skipped so far)",
            highlight=False,
            soft_wrap=True,
        )

    def _start_bar(self, record: StepRecord) -> None:
        if self._progress is None:
            return
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(record.phase, total=record.num_steps, rate=0.0, losses="")


def _losses(losses: dict[str, float], at_most: int) -> str:
    shown = [f"{task} {value:.3f}" for task, value in sorted(losses.items())[:at_most]]
    more = len(losses) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


class Notifier:
    """Tells observers what happened. A plugin that raises is left out from then on: it only watches.

    Args:
        plugins: the host; observers that :func:`observing` adds are the platform's own, and may stop a run.
    """

    def __init__(self, plugins: Host) -> None:
        self.plugins = plugins
        self._silenced: set[str] = set()

    def step_ended(self, record: StepRecord) -> None:
        """Tell that an optimizer step has ended."""
        self._tell("sslm_step_ended", record)

    def cell_finished(self, record: CellRecord) -> None:
        """Tell that a cell is measured, or failed."""
        self._tell("sslm_cell_finished", record)

    def _tell(self, hook: str, record: StepRecord | CellRecord) -> None:
        manager = self.plugins.manager
        strangers = {provenance.plugin for provenance in self.plugins.loaded}
        for name, plugin in manager.list_name_plugin():
            if plugin is None or name in self._silenced or not hasattr(plugin, hook):
                continue
            others = [other for _, other in manager.list_name_plugin() if other not in (None, plugin)]
            try:
                manager.subset_hook_caller(hook, others)(record=record)
            except Exception as error:
                if name not in strangers:
                    raise
                self._silenced.add(name)
                log.warning(
                    "plugin %r: %s raised %s: %s; it hears no more of this run",
                    name,
                    hook,
                    type(error).__name__,
                    error,
                )
                log.debug("its traceback", exc_info=True)


@contextmanager
def observing(plugins: Host, *observers: object) -> Iterator[None]:
    """Register observers with the plugin host for as long as the context lasts."""
    for observer in observers:
        plugins.manager.register(observer)
    try:
        yield
    finally:
        for observer in observers:
            plugins.manager.unregister(observer)
