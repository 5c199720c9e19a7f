"""Errors that a user can act on; anything else that escapes is our own bug."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (file and key path, or object), and what was expected."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class SslmError(ValueError):
    """Base of all errors caused by input. The CLI prints the message and exits with 2."""

    def __init__(self, *problems: Problem | str) -> None:
        self.problems: tuple[Problem, ...] = tuple(
            p if isinstance(p, Problem) else Problem("", p) for p in problems
        )
        super().__init__("\n".join(str(p) for p in self.problems))


class SpecError(SslmError):
    """A spec does not say what it must, or says what cannot be done."""


class DataError(SslmError):
    """The data are not what the spec says they are."""


class PluginError(SslmError):
    """A plugin breaks a rule of the host, or could not be loaded."""


class UndefinedError(SslmError):
    """A figure has no meaning for these data; the message says why."""


class RunError(SslmError):
    """A run folder is incomplete, damaged, or belongs to another spec."""


class Interrupted(BaseException):
    """A signal asked to stop. Like ``KeyboardInterrupt`` it is no error, and passes what catches errors.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean X?"`` for the nearest known name, else list what there is."""
    names: Sequence[str] = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known: {', '.join(names)}" if names else ""


def raise_all(error: type[SslmError], problems: Sequence[Problem]) -> None:
    """Raise one ``error`` that carries every problem, or return when there is none."""
    if problems:
        raise error(*problems)
