"""Which targets hold, or can follow, when the words of a text are moved, replaced, dropped or repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sslm_platform.errors import Problem
from sslm_platform.spec.resolved import Task
from sslm_platform.spec.schema import StreamSpec


def check_targets(stream: StreamSpec, tasks: Mapping[str, Task], where: str) -> Iterator[Problem]:
    """Yield the tasks of a stream whose targets name places of the text: nobody moves them with its words."""
    for task in tasks.values():
        for name in task.spec.fields if task.stream is stream else ():
            kind = task.needs[name].kind
            if not kind.survives_augmentation:
                yield Problem(where, f"{task.identity} has {name}, a field of kind {kind}: it names places")
