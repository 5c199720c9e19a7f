"""What the section ``encoder.adapter`` cannot be combined with."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator

from sslm_platform.errors import Problem
from sslm_platform.spec.resolved import Task, gradient_scope
from sslm_platform.spec.schema import RunSpec
from sslm_platform.types import BalancerDef

Where = Callable[..., str]

OF_THE_ENCODER = ("layer_decay", "unfreeze", "consolidate", "distill")  # of the section ``optimizer``


def adapter_problems(
    spec: RunSpec, tasks: Iterable[Task], balancer: BalancerDef, where: Where
) -> Iterator[Problem]:
    """Yield what an adapter, or one for each head, cannot do, or not exactly."""
    if spec.encoder.adapter is None:
        return
    if importlib.util.find_spec("peft") is None:
        yield Problem(where("encoder", "adapter"), "peft is not installed: pip install sslm-platform[peft]")
    if spec.encoder.adapter.name == "adalora":
        yield from _ranks(spec, where)
    if spec.encoder.adapter.name == "prefix_tuning":
        yield from _prefix(spec, where)
    if spec.encoder.adapter.per == "run":
        return
    frozen = "encoder.adapter.per: task leaves the encoder frozen"
    if spec.engine.zero_stage == 3:
        yield Problem(
            where("engine", "zero_stage"),
            f"3 shards what is trained, and {frozen}: set 0, 1 or 2, where ranks share the examples",
        )
    for task in tasks:
        if task.spec.head.sharded:
            what = "a head with an adapter of its own runs inside the encoder's call, and cannot be sharded"
            yield Problem(f"{task.where}.head.sharded", f"{what}: set it to false")
    if gradient_scope(spec.balancer, balancer) is not None:
        what = (
            f"{frozen}, so that tasks have no gradient in common: take a balancer of losses, and no logging"
        )
        yield Problem(where("balancer"), what)
    for key in OF_THE_ENCODER:
        if getattr(spec.optimizer, key) is not None:
            yield Problem(where("optimizer", key), f"is about the encoder's training, and {frozen}")
    if spec.optimizer.decay_to == "start":
        yield Problem(where("optimizer", "decay_to"), f"start is the encoder's, and {frozen}")


def _prefix(spec: RunSpec, where: Where) -> Iterator[Problem]:
    what = "prefix_tuning does not merge into the encoder's weights"
    if spec.encoder.adapter is not None and spec.encoder.adapter.per == "run":
        yield Problem(where("encoder", "adapter", "per"), f"{what}: set task, or take lora")
    if spec.transfer:
        yield Problem(where("transfer"), f"cells read a source's encoder, and {what}: take lora")


def _ranks(spec: RunSpec, where: Where) -> Iterator[Problem]:
    """AdaLoRA takes ranks away by whole weights and gradients, in every step of the encoder."""
    adapter = spec.encoder.adapter
    assert adapter is not None
    if adapter.per == "task":
        what = "task: adalora shares one budget of ranks out over the steps of the encoder; take run, or lora"
        yield Problem(where("encoder", "adapter", "per"), what)
    if spec.engine.name != "local":
        what = f"adalora reads whole gradients when the step is done, and {spec.engine.name} has cleared them"
        yield Problem(where("encoder", "adapter", "name"), f"{what}: set engine.name: local, or take lora")
    if spec.optimizer.average is not None:
        what = "an average would have the ranks that adalora has taken away"
        yield Problem(where("optimizer", "average"), what)
    first, last = adapter.options.get("tinit", 0), adapter.options.get("tfinal", 0)
    steps = spec.schedule.max_steps
    if steps is not None and first + last >= steps:
        what = f"tinit + tfinal = {first + last} leave none of {steps} steps to take ranks away in"
        yield Problem(where("encoder", "adapter", "options"), what)
