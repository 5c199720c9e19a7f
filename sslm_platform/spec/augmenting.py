"""Which targets hold, or can follow, when the words of a text are moved, replaced, dropped or repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sslm_platform.errors import Problem
from sslm_platform.kinds import FieldKind
from sslm_platform.spec.resolved import Task
from sslm_platform.spec.schema import StreamSpec


def check_targets(stream: StreamSpec, tasks: Mapping[str, Task], where: str) -> Iterator[Problem]:
    """Yield the tasks of a stream with fields that nobody changes with the words of the text."""
    for task in tasks.values():
        for name in task.spec.fields if task.stream is stream else ():
            kind = task.needs[name].kind
            if not kind.survives_augmentation:
                what = "they are no one text" if kind is FieldKind.TEXTS else "it names places"
                yield Problem(where, f"{task.identity} has {name}, a field of kind {kind}: {what}")
