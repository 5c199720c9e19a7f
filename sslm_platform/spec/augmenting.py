"""Which targets hold, or can follow, when the words of a text are moved, replaced, dropped or repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sslm_platform.errors import Problem
from sslm_platform.kinds import FieldKind
from sslm_platform.spec.resolved import Task
from sslm_platform.spec.schema import EvaluationSpec, StreamSpec
from sslm_platform.types import AugmenterDef


def check_targets(
    stream: StreamSpec, tasks: Mapping[str, Task], augmenters: Sequence[AugmenterDef], where: str
) -> Iterator[Problem]:
    """Yield the tasks of a stream with fields that nobody changes with the words of the text."""
    rewriting = [definition.name for definition in augmenters if definition.rewrites]
    for task in tasks.values():
        for name in task.spec.fields if task.stream is stream else ():
            kind = task.needs[name].kind
            if not kind.survives_augmentation:
                what = "they are no one text" if kind is FieldKind.TEXTS else "it names places"
                yield Problem(where, f"{task.identity} has {name}, a field of kind {kind}: {what}")
            elif rewriting and kind is FieldKind.TAGS:
                what = f"{rewriting[0]} writes texts anew, and nothing says which word has which tag"
                yield Problem(where, f"{task.identity} has {name}, a field of kind {kind}: {what}")


def check_adapting(stream: StreamSpec, evaluation: EvaluationSpec, where: str) -> Iterator[Problem]:
    """Yield the augmenters that follow dev scores which nobody takes."""
    for index, item in enumerate(stream.augment):
        if item.adapt is not None and evaluation.every is None:
            yield Problem(f"{where}[{index}].adapt", "follows dev scores: set evaluation.every")
