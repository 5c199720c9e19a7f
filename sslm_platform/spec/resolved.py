"""A spec with its names looked up: tasks, feeds, and definitions bound to options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sslm_platform.errors import PluginError, Problem
from sslm_platform.kinds import AttentionPattern, Field, OutputKind
from sslm_platform.spec.forms import InputForm, num_masks
from sslm_platform.spec.load import LoadedSpec
from sslm_platform.spec.schema import BalancerSpec, FieldSpec, GradientScope, RunSpec, StreamSpec, TaskSpec
from sslm_platform.spec.transfer import Selector
from sslm_platform.types import (
    AugmenterDef,
    BalancerDef,
    Definition,
    EstimatorDef,
    ExecutorDef,
    HeadDef,
    MetricDef,
    ObjectiveDef,
    Options,
    Provenance,
    SamplerDef,
    WrapperDef,
)

D = TypeVar("D", bound=Definition)

TARGET_SHARE = 4  # of an input's tokens, for a target without max_tokens


@dataclass(frozen=True, slots=True)
class Bound(Generic[D]):
    """A definition with validated options."""

    definition: D
    options: Options
    provenance: Provenance

    def build(self, *context: Any) -> Any:
        """Build the component; a plugin's complaint about its options is the user's to read."""
        return self.definition.build(self.options, *context)

    def wrong(self, *context: Any) -> list[Problem]:
        """Return what the definition's own check complains of.

        Raises:
            PluginError: the check returns something else.
        """
        definition: Any = self.definition  # heads, objectives, samplers and balancers have one
        found = definition.check(self.options, *context)
        problems = list(found) if isinstance(found, Iterable) else [found]
        if not all(isinstance(problem, Problem) for problem in problems):
            where = f"{self.provenance.distribution}: {definition.name!r}"
            raise PluginError(Problem(where, f"its check must yield problems, and gave {found!r}"))
        return problems

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the component's behaviour in a content hash: of files, what is in them."""
        content = {
            "name": self.definition.name,
            "options": self.options.model_dump(mode="json"),
            "distribution": self.provenance.distribution,
            "version": self.provenance.version,
        }
        if isinstance(self.definition, (AugmenterDef, HeadDef)) and (
            read := self.definition.reads(self.options)
        ):
            content["reads"] = dict(read)
        return content


@dataclass(frozen=True, slots=True)
class Task:
    """A task with its definitions."""

    identity: str
    spec: TaskSpec
    stream: StreamSpec
    objective: Bound[ObjectiveDef]
    head: Bound[HeadDef]
    metrics: Mapping[str, Bound[MetricDef]]
    where: str
    wrapper: Bound[WrapperDef] | None = None
    own_adapter: bool = False
    windows: bool = False  # whether words beyond the encoder's length are read in windows of their own

    @property
    def head_key(self) -> str:
        """The name of the head: tasks with one key share weights and labels."""
        return self.spec.head.shared_as or self.identity

    @property
    def primary(self) -> Bound[MetricDef]:
        """The metric used for selection and matrices."""
        return self.metrics[self.primary_name]

    @property
    def primary_name(self) -> str:
        """The primary metric's name."""
        return self.spec.primary_metric or next(iter(self.metrics))

    @property
    def needs(self) -> Mapping[str, Field]:
        """The fields that the objective reads with this head."""
        return self.objective.definition.needs[self.head.definition.emits]

    @property
    def input_columns(self) -> tuple[tuple[str, str], ...]:
        """(field, column) of what the encoder reads."""
        return tuple(
            sorted(
                (name, column_of(field))
                for name, field in self.spec.fields.items()
                if self.needs[name].is_read
            )
        )

    def target_room(self, max_length: int) -> int:
        """Return the tokens of an input that are kept free for a target that is encoded with it, or 0."""
        for name, field in self.needs.items():
            if field.read and name in self.spec.fields:
                given = self.spec.fields[name]
                chosen = None if isinstance(given, str) else given.max_tokens
                return chosen or max(2, max_length // TARGET_SHARE)
        return 0

    @property
    def form(self) -> InputForm:
        """How the inputs are put before the encoder."""
        is_lm = self.head.definition.emits is OutputKind.VOCABULARY_LOGITS
        return InputForm(self.windows, self.spec.template, is_lm)

    @property
    def num_masks(self) -> int:
        """How many mask tokens its template has."""
        return num_masks(self.spec.template)

    @property
    def encoding(self) -> tuple[Any, ...]:
        """What must be equal for tasks to be served by one encoding of a stream's rows."""
        definition = self.objective.definition
        alone = self.identity if self._reads_alone else self.head_key if self.own_adapter else ""
        return (self.stream.name, alone, definition.attention, self.input_columns, self.form)

    @property
    def _reads_alone(self) -> bool:
        definition = self.objective.definition
        is_own = definition.changes_input or definition.attention is AttentionPattern.PREFIX
        is_own = is_own or definition.encoder_calls > 1
        return is_own or self.wrapper is not None

    @property
    def readings(self) -> int:
        """How often the encoder reads each token: once a call, where the objective makes the texts."""
        definition = self.objective.definition
        return definition.encoder_calls if definition.changes_input else 1

    @property
    def axes(self) -> dict[str, str]:
        """What selectors and matrix axes can name."""
        return axes_of(self.stream, self.spec)


@dataclass(frozen=True, slots=True)
class FeedPlan:
    """Tasks of one stream that read the same input and so share its slots."""

    name: str
    stream: StreamSpec
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class ResolvedRun:
    """A run whose every name has a definition and whose parts fit."""

    loaded: LoadedSpec
    tasks: Mapping[str, Task]
    feeds: tuple[FeedPlan, ...]
    sampler: Bound[SamplerDef]
    balancer: Bound[BalancerDef]
    executor: Bound[ExecutorDef]
    estimators: tuple[Bound[EstimatorDef], ...]
    augmenters: Mapping[str, tuple[Bound[AugmenterDef], ...]]  # of each stream that has some

    @property
    def spec(self) -> RunSpec:
        """The spec as written."""
        return self.loaded.spec

    @property
    def sharded_heads(self) -> frozenset[str]:
        """Names of the heads that ZeRO is to shard."""
        return frozenset(task.head_key for task in self.tasks.values() if task.spec.head.sharded)

    @property
    def gradients_of(self) -> GradientScope | None:
        """What each task's gradients are wanted of; None where nothing asks for them."""
        return gradient_scope(self.spec.balancer, self.balancer.definition)


def gradient_scope(spec: BalancerSpec, definition: BalancerDef) -> GradientScope | None:
    """Return what each task's gradients are wanted of; None where nothing asks for them."""
    if definition.gradients or spec.log_gradients_every:
        return spec.scope
    return "all" if spec.log_affinity_every else None


def column_of(field: str | FieldSpec) -> str:
    """Return the column that a field reads."""
    return field if isinstance(field, str) else field.column


def axes_of(stream: StreamSpec, task: TaskSpec) -> dict[str, str]:
    """Return what selectors and matrix axes can name of a task."""
    identity = f"{task.name}@{stream.domain}"
    own = {"identity": identity, "task": task.name, "domain": stream.domain, "stream": stream.name}
    return {**stream.tags, **own}


def matches(axes: Mapping[str, str], selector: Selector) -> bool:
    """Whether a task's axes have one of the wanted values wherever the selector names some."""
    return all(axes.get(key) in values for key, values in selector.criteria.items())


def feeds_of(tasks: Iterable[Task]) -> Iterable[FeedPlan]:
    """Group tasks by stream, input and what their objectives do to it (see :attr:`Task.encoding`)."""
    groups: dict[tuple[Any, ...], list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.encoding, []).append(task)
    taken: set[str] = set()
    for (stream, *_), members in groups.items():
        name = f"{stream}/{members[0].spec.name}" if stream in taken else stream
        taken.add(stream)
        yield FeedPlan(name, members[0].stream, tuple(members))
