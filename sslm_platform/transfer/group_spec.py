"""A grouping as a spec that ``sslm run`` takes as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sslm_platform.report.grouping import JOINT, Affinities, GroupPlan
from sslm_platform.spec.schema import RunSpec
from sslm_platform.spec.transfer import TransferSpec
from sslm_platform.transfer.grouping import group_tasks


def plan_groups(known: Affinities, budget: int) -> GroupPlan:
    """Return the best groups of the affinities' tasks, with what they predict."""
    found = group_tasks(known.affinity_TT, budget)
    return GroupPlan(
        by=known.by,
        signed=known.signed,
        method=found.method,
        budget=budget,
        groups=tuple(tuple(known.tasks[t] for t in group) for group in found.groups),
        serves=dict(zip(known.tasks, found.serves, strict=True)),
        predicted=dict(zip(known.tasks, found.scores, strict=True)),
        unknown=known.unknown,
    )


def group_spec(spec: RunSpec, groups: GroupPlan, name: str) -> RunSpec:
    """Return the spec that trains each group, each task alone, and all jointly, and tests them.

    A task is trained as long in each of them: where the schedule counts steps, a model of k of the T tasks
    gets k / T of the joint run's.
    """
    blocks = [TransferSpec.model_validate(block) for block in _blocks(spec, groups)]
    return spec.model_copy(update={"name": name, "transfer": blocks})


def _blocks(spec: RunSpec, groups: GroupPlan) -> Iterator[dict[str, Any]]:
    for number, group in enumerate(groups.groups):
        served = [task for task, of in groups.serves.items() if of == number]
        yield _block(spec, groups, group, served)
    for task, number in groups.serves.items():
        if len(groups.groups[number]) > 1:
            yield _block(spec, groups, (task,), [task])
    yield {"source_stage": "full", "target_stage": "zero_shot", "sources": JOINT, "targets": "all"}


def _block(
    spec: RunSpec, groups: GroupPlan, sources: Sequence[str], targets: Sequence[str]
) -> dict[str, Any]:
    selector: dict[str, Any] = {"identity": list(sources)}
    if len(sources) > 1:
        selector["together"] = True
    block: dict[str, Any] = {
        "source_stage": "full",
        "target_stage": "zero_shot",
        "sources": selector,
        "targets": {"identity": list(targets)},
    }
    if spec.schedule.max_steps is not None:
        share = len(sources) / len(groups.serves)
        block["max_steps"] = max(1, round(spec.schedule.max_steps * share))
    return block
