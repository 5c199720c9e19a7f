"""Patterns that name feeds, or tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from sslm_platform.api import Problem, suggest

V = TypeVar("V")
Tasks = Mapping[str, Sequence[str]]
"""Feed to its tasks."""

FEED_PATTERN = "a feed (its stream's name), a task `name@domain`, or a pattern (`*@tweets`)"


def last_match(patterns: Mapping[str, V], names: Iterable[str]) -> V | None:
    """Return the value of the last pattern that matches one of the names."""
    names = list(names)
    found = [value for pattern, value in patterns.items() if matches_any(pattern, names)]
    return found[-1] if found else None


def matches_any(pattern: str, names: Iterable[str]) -> bool:
    """Whether a pattern matches one of the names, with regard to case."""
    return any(fnmatchcase(name, pattern) for name in names)


def names_of(feed: str, tasks: Tasks) -> list[str]:
    """Return what a feed can be called: its own name, or one of its tasks."""
    return [feed, *tasks.get(feed, ())]


def unmatched(patterns: Iterable[str], names: Iterable[str], where: str) -> Iterable[Problem]:
    """Yield a problem for each pattern that matches nothing."""
    names = list(names)
    for pattern in patterns:
        if not matches_any(pattern, names):
            yield Problem(where, f"{pattern!r} matches nothing{suggest(pattern, names)}")


def all_names(tasks: Tasks) -> list[str]:
    """Return the names of all feeds and tasks."""
    return [name for feed in tasks for name in names_of(feed, tasks)]


def task_names(tasks: Tasks) -> list[str]:
    """Return the names of all tasks."""
    return [task for of_feed in tasks.values() for task in of_feed]
