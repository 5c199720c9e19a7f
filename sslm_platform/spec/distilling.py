"""What ``optimizer.distill`` cannot be combined with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sslm_platform.errors import Problem
from sslm_platform.kinds import FieldKind, OutputKind
from sslm_platform.spec.resolved import Task, gradient_scope
from sslm_platform.spec.schema import RunSpec
from sslm_platform.types import BalancerDef, SamplerDef

OF_ANY_TEXT = (OutputKind.SEQUENCE_LOGITS, OutputKind.LABEL_SET_LOGITS, OutputKind.SEQUENCE_VALUES)


def distill_problems(
    tasks: Iterable[Task],
    spec: RunSpec,
    sampler: SamplerDef,
    balancer: BalancerDef,
    where: Callable[..., str],
) -> Iterator[Problem]:
    """Yield why earlier stages' heads cannot answer for later stages' texts, or not in one backward."""
    if spec.optimizer.distill is None:
        return
    place = where("optimizer", "distill")
    if not sampler.staged:
        yield Problem(place, f"begins at the end of a stage, and sampler {sampler.name} has none")
    if gradient_scope(spec.balancer, balancer) is not None:
        what = "its gradient is no task's, and the balancer keeps those apart: take a balancer of losses"
        yield Problem(place, what)
    for task in tasks:
        if task.wrapper is not None:
            name = task.wrapper.definition.name
            yield Problem(place, f"takes one pass over a slot, and {name} of {task.identity} takes its own")
        if task.spec.head.sharded:
            yield Problem(f"{task.where}.head.sharded", "its copy would have to be whole on each rank")
        head = task.head.definition
        reads_spans = any(task.needs[name].kind is FieldKind.SPANS for name in task.spec.fields)
        if head.emits not in OF_ANY_TEXT or reads_spans or head.reads_masks or head.tied:
            what = f"head {head.name} of {task.identity} reads places of its own task's texts"
            yield Problem(place, f"{what}; heads that read any text emit {', '.join(OF_ANY_TEXT)}")
