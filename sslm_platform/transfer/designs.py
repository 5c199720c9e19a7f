"""Designs: how the sources that a block selects become trainings, and what each is compared with.

A design keeps the budget of what it compares: the tasks that two sources share are trained as long in both
(see :attr:`Arm.share` and ``docs/transfer.md``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from sslm_platform.report.records import SourceStage
from sslm_platform.spec.resolved import Task
from sslm_platform.spec.transfer import TransferSpec
from sslm_platform.transfer.sources import Source, alone, expand_sources

Row = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """A source as a design trains it.

    Attributes:
        source: None with ``source_stage: none``.
        share: factor of the block's ``max_steps`` (epochs need none: they are passes over each task).
        name: of the row; default: the source's.
        row: see :class:`~sslm_platform.report.records.CellKey`.
        compared: name of a baseline to the arm that it is measured with, best first.
    """

    stage: SourceStage
    source: Source | None
    share: float = 1.0
    name: str = ""
    row: Row = ()
    compared: Mapping[str, Arm] = field(default_factory=dict)


class Design:
    """The arms of one transfer block."""

    def __init__(self, block: TransferSpec, tasks: Sequence[Task]) -> None:
        self.stage = block.source_stage
        self.sources = expand_sources(block.sources, tasks) if block.source_stage != "none" else []
        self.later = [expand_sources(item, tasks) for item in block.then]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Every task that some arm trains on, targets of ``pairwise`` apart."""
        sources = [*self.sources, *(source for stage in self.later for source in stage)]
        return tuple({task.identity: task for source in sources for task in source.tasks}.values())

    def cells(self, targets: Sequence[Task]) -> Iterator[tuple[Arm, Task]]:
        """Yield what is trained to be measured on which target, row by row."""
        if self.stage == "pairwise":
            pairs = product(self.sources, targets)
            yield from (
                (_pair(source, target), target) for source, target in pairs if target not in source.tasks
            )
            return
        yield from product(self._arms(), targets)

    def _arms(self) -> Iterator[Arm]:
        match self.stage:
            case "none":
                yield Arm("none", None)
            case "leave_one_out":
                yield from self._all_but_one()
            case "sequential":
                yield from self._sequences()
            case _:
                yield from (Arm(self.stage, source) for source in self.sources)

    def _all_but_one(self) -> Iterator[Arm]:
        every = self.tasks
        all_of_them = Arm("full", Source(f"all ({len(every)} tasks)", (every,)))
        for source in self.sources:
            rest = tuple(task for task in every if task not in source.tasks)
            if rest:
                name = f"all but {source.name}"
                yield Arm(
                    "leave_one_out",
                    Source(name, (rest,)),
                    share=len(rest) / len(every),
                    row=(source.identities,),
                    compared={"full_set": all_of_them},
                )

    def _sequences(self) -> Iterator[Arm]:
        """Yield every stage of every sequence once, and after the stages that it goes on from."""
        seen: set[Row] = set()
        for steps in product(self.sources, *self.later):
            identities = [identity for step in steps for identity in step.identities]
            if len(set(identities)) < len(identities):
                continue
            before: Arm | None = None
            for count in range(1, len(steps) + 1):
                before = _sequence(steps[:count], before)
                if before.row not in seen:
                    seen.add(before.row)
                    yield before


def _pair(source: Source, target: Task) -> Arm:
    """Train source and target together, with the budgets of both: the pair (A, B) is also (B, A)."""
    members = tuple(sorted((*source.tasks, target), key=lambda task: task.identity))
    return Arm(
        "pairwise",
        Source(f"{source.name} + {target.identity}", (members,)),
        share=2.0,
        name=source.name,
        row=(source.identities,),
        compared={"alone": Arm("full", alone(target))},
    )


def _sequence(steps: Sequence[Source], before: Arm | None) -> Arm:
    source = Source(" → ".join(step.name for step in steps), tuple(step.tasks for step in steps))
    compared = {}
    if before is not None:
        compared = {"before": before, "alone": Arm("full", steps[-1])}
    return Arm("sequential", source, row=tuple(step.identities for step in steps), compared=compared)
