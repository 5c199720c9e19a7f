"""What tasks of one input, shared and sharded heads, and wrappers can be combined with, and what not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sslm_platform.errors import Problem
from sslm_platform.kinds import AttentionPattern, OutputKind
from sslm_platform.spec.forms import template_problems
from sslm_platform.spec.resolved import Bound, FeedPlan, Task, gradient_scope
from sslm_platform.spec.schema import HeadSpec, RunSpec
from sslm_platform.types import BalancerDef, HeadDef, ObjectiveDef, WrapperDef

LEAST_TEXT = 8  # tokens


def head_problems(spec: HeadSpec, head: HeadDef, objective: ObjectiveDef, where: str) -> Iterator[Problem]:
    """Yield what a head's section asks for and the head cannot have, with this objective."""
    if spec.sharded and head.tied:
        what = f"{head.name} projects inside the encoder's module and cannot be apart from it"
        yield Problem(f"{where}.head.sharded", what)
    if objective.rewritten != head.rewrites:
        need = "one that puts" if objective.rewritten else "one that does not put"
        what = f"objective {objective.name} needs {need} other tokens in before the encoder reads them"
        yield Problem(f"{where}.head.name", what)
    if spec.sharded and head.rewrites:
        what = f"{head.name} is called before the encoder and after it, which may lose a gradient: set false"
        yield Problem(f"{where}.head.sharded", what)
    if spec.sharded and head.whole:
        yield Problem(
            f"{where}.head.sharded", f"{head.name} has tied weights, which cannot be sharded: set false"
        )
    continues = objective.attention is AttentionPattern.PREFIX
    if head.emits.is_generated and head.tied != continues:
        reads = "what it is to write too" if continues else "a text whole, and nothing after it"
        what = f"with objective {objective.name} the encoder reads {reads}"
        need = "the encoder itself writes" if continues else "a decoder writes"
        yield Problem(f"{where}.head.name", f"{what}: take a head with which {need}")
    if spec.tokenizer is None:
        return
    if not head.emits.is_generated:
        what = f"{head.name} emits {head.emits}: only heads that generate text have a tokenizer"
        yield Problem(f"{where}.head.tokenizer", what)
    elif head.tied:
        yield Problem(f"{where}.head.tokenizer", f"{head.name} writes with the encoder's: leave it out")
    elif objective.makes_text:
        what = f"objective {objective.name} makes its targets of the encoder's tokens: leave it out"
        yield Problem(f"{where}.head.tokenizer", what)


def with_windows(tasks: Iterable[Task]) -> list[Task]:
    """Let words be read in windows, where all that reads them is tagging.

    What is said of a text as a whole is read from one row of states.
    """
    tasks = list(tasks)
    others = {task.encoding for task in tasks if not task.head.definition.emits.has_tags}
    return [replace(task, windows=task.encoding not in others) for task in tasks]


def sharding_problems(feeds: Iterable[FeedPlan]) -> Iterator[Problem]:
    """Of two calls of a sharded module before one backward, DeepSpeed may lose a gradient."""
    for feed in feeds:
        first: dict[str, Task] = {}
        for task in feed.tasks:
            other = first.setdefault(task.head_key, task)
            if task.spec.head.sharded and other is not task:
                yield Problem(
                    f"{task.where}.head.sharded",
                    f"{other.where} reads the same input with this head, and a sharded head can be called"
                    " once for each encoding: set it to false",
                )


def room_problems(tasks: Iterable[Task], max_length: int) -> Iterator[Problem]:
    """What is kept for a target that is read must leave something of the input to the text."""
    for task in tasks:
        room = task.target_room(max_length)
        if room and room > max_length - LEAST_TEXT:
            what = (
                f"{room} tokens of encoder.max_length {max_length} leave less than {LEAST_TEXT} to the text"
            )
            yield Problem(f"{task.where}.fields.target.max_tokens", what)


def task_problems(tasks: Iterable[Task]) -> Iterator[Problem]:
    """Yield what is wrong with templates, and with what the tasks of one head have in common."""
    tasks = list(tasks)
    yield from _label_problems(tasks)
    wrong = [problem for task in tasks for problem in _template_problems(task)]
    yield from wrong or _mask_problems(tasks)


def _template_problems(task: Task) -> Iterator[Problem]:
    found = template_problems(
        task.spec.template,
        {name: task.needs[name] for name in task.spec.fields},
        reads_masks=task.head.definition.reads_masks,
        changes_input=task.objective.definition.changes_input,
        targets_input=task.head.definition.emits is OutputKind.VOCABULARY_LOGITS
        or task.objective.definition.attention is AttentionPattern.PREFIX,
    )
    yield from (Problem(f"{task.where}.template", what) for what in found)


def _mask_problems(tasks: Iterable[Task]) -> Iterator[Problem]:
    """A head that reads masks reads a fixed number of them."""
    for task, other in _beside_first(tasks):
        if task.num_masks != other.num_masks and task.head.definition.reads_masks:
            what = f"has {task.num_masks} masks, and that of {other.where}, whose head it shares"
            yield Problem(f"{task.where}.template", f"{what}, {other.num_masks}")


def _label_problems(tasks: Iterable[Task]) -> Iterator[Problem]:
    """A head has one set of labels: those found in the data, or those that an objective makes."""
    for task, other in _beside_first(tasks):
        if task.objective.definition.labels != other.objective.definition.labels:
            yield Problem(
                f"{task.where}.head.shared_as",
                f"shares the head {task.head_key!r} with {other.where}, whose labels are others"
                f" ({task.objective.definition.name}, {other.objective.definition.name})",
            )


def _beside_first(tasks: Iterable[Task]) -> Iterator[tuple[Task, Task]]:
    """Yield each task with the first one that has its head."""
    first: dict[str, Task] = {}
    for task in tasks:
        yield task, first.setdefault(task.head_key, task)


def wrapper_problems(tasks: Iterable[Task], spec: RunSpec, balancer: BalancerDef) -> Iterator[Problem]:
    """Yield what keeps a task's wrapper from being exact, or from working at all."""
    for task in tasks:
        if task.wrapper is not None:
            where = f"{task.where}.objective.wrapper.name"
            for what in _reasons(task, task.wrapper, spec, balancer):
                yield Problem(where, f"{task.wrapper.definition.name} {what}")


def _reasons(task: Task, wrapper: Bound[WrapperDef], spec: RunSpec, balancer: BalancerDef) -> Iterator[str]:
    definition, emits = wrapper.definition, task.head.definition.emits
    if emits not in definition.kinds:
        known = ", ".join(sorted(definition.kinds))
        yield f"does not work with {emits}, which head {task.head.definition.name} emits; but with {known}"
    if definition.probes and spec.engine.name != "local":
        yield (
            f"needs gradients by which nothing is trained, and engine {spec.engine.name} adds up all that are"
            " taken: set engine.name: local"
        )
    if definition.shifts and gradient_scope(spec.balancer, balancer) == "last_layer":
        yield (
            "follows gradients down to the embeddings, and where each task's are kept apart they end at the"
            " last layer: set balancer.scope: all, or a balancer of losses"
        )
    if task.spec.head.sharded:
        yield (
            "passes a batch through the head more than once, and a sharded head may lose a gradient then: set"
            " head.sharded: false"
        )
