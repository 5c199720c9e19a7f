"""Selectors to sources and targets: what a transfer block trains on, and what it is tested on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sslm_platform.spec.resolved import Task, matches
from sslm_platform.spec.transfer import Selector


@dataclass(frozen=True, slots=True)
class Source:
    """Tasks to train on: the tasks of a stage together, one stage after the other.

    Most sources have one stage. ``joint`` marks the run's own joint training.
    """

    name: str
    stages: tuple[tuple[Task, ...], ...]
    joint: bool = False

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of all stages, each once."""
        return tuple({task.identity: task for stage in self.stages for task in stage}.values())

    @property
    def identities(self) -> tuple[str, ...]:
        """The tasks' identities."""
        return tuple(task.identity for task in self.tasks)


def expand_sources(
    selection: Selector | str | Sequence[Selector | str], tasks: Sequence[Task]
) -> list[Source]:
    """Return the sources in the order of the spec, each once."""
    items = [selection] if isinstance(selection, Selector | str) else selection
    found = {(source.joint, source.identities): source for item in items for source in _expand(item, tasks)}
    times = Counter(source.name for source in found.values())
    return [_by_members(source) if times[source.name] > 1 else source for source in found.values()]


def _by_members(source: Source) -> Source:
    """Return a source under the names of its tasks, where another one has the same name."""
    return replace(source, name=" + ".join(source.identities))


def expand_targets(selection: Selector | str, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks that a target selector names."""
    return [task for task in tasks if not isinstance(selection, Selector) or matches(task.axes, selection)]


def alone(task: Task) -> Source:
    """Return the source that is one task."""
    return Source(task.identity, ((task,),))


def _expand(item: Selector | str, tasks: Sequence[Task]) -> Iterable[Source]:
    if item == "joint":
        yield Source("joint", (tuple(tasks),), joint=True)
        return
    selected = expand_targets(item, tasks)
    if isinstance(item, Selector) and item.together and len(selected) > 1:
        yield Source(" + ".join(task.identity for task in selected), (tuple(selected),))
        return
    by = item.by if isinstance(item, Selector) else None
    if by is None:
        yield from map(alone, selected)
        return
    groups: dict[str, list[Task]] = {}
    for task in selected:
        if by in task.axes:
            groups.setdefault(task.axes[by], []).append(task)
    for value, members in groups.items():
        name = members[0].identity if len(members) == 1 else f"{value} ({len(members)} tasks)"
        yield Source(name, (tuple(members),))


def several_adapters(source: Source) -> str:
    """Return why a source whose heads have adapters has no encoder to be measured; nothing if it has one."""
    keys = {task.head_key for task in source.tasks if task.own_adapter}
    if len(keys) < 2:
        return ""
    return "each of the source's heads has an adapter of its own, and there is no encoder with all of them"


def head_for(source: Source, target: Task, *, mapped: bool = False) -> str | None:
    """Return the key of the source's head that can score a target without training, if there is just one."""
    keys = heads_for(source, target, mapped=mapped)
    return keys.pop() if len(keys) == 1 else None


def heads_for(source: Source, target: Task, *, mapped: bool = False) -> set[str]:
    """Return the keys of the source's heads that could score a target without training.

    It is the target's own head where the source has it, else those of the source's tasks of the same name,
    else, where their labels are ``mapped`` to the target's by the spec, the source's heads of the same kind.
    """
    if any(task.head_key == target.head_key for task in source.tasks):
        return {target.head_key}
    alike = [task for task in source.tasks if task.head.definition == target.head.definition]
    keys = {task.head_key for task in alike if task.spec.name == target.spec.name}
    return {task.head_key for task in alike} if not keys and mapped else keys
