"""Names to definitions: what a spec means with the installed plugins, and all that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from sslm_platform.errors import PluginError, Problem, SpecError, raise_all, suggest
from sslm_platform.plugins import Host, host
from sslm_platform.registry import Table
from sslm_platform.spec.adapting import adapter_problems
from sslm_platform.spec.augmenting import check_adapting, check_targets
from sslm_platform.spec.combining import (
    head_problems,
    room_problems,
    sharding_problems,
    task_problems,
    with_windows,
    wrapper_problems,
)
from sslm_platform.spec.distilling import distill_problems
from sslm_platform.spec.fields import field_problems
from sslm_platform.spec.load import LoadedSpec, validated_options
from sslm_platform.spec.resolved import Bound, FeedPlan, ResolvedRun, Task, axes_of, feeds_of, matches
from sslm_platform.spec.schema import LAST, MEAN_GAIN, StreamSpec, TaskSpec
from sslm_platform.spec.section import Component
from sslm_platform.spec.transfer import Selector
from sslm_platform.types import (
    AugmenterDef,
    BalancerDef,
    Definition,
    EstimatorDef,
    HeadDef,
    MetricDef,
    SamplerDef,
)

D = TypeVar("D", bound=Definition)


def resolve(loaded: LoadedSpec, plugins: Host | None = None) -> ResolvedRun:
    """Look up every name, check every option and every fit.

    Raises:
        SpecError: with all problems found.
    """
    resolver = _Resolver(loaded, plugins or host())
    run = resolver.run()
    raise_all(SpecError, [loaded.blamed(problem) for problem in resolver.problems])
    assert run is not None
    return run


def _without_required_options(table: Table[EstimatorDef]) -> list[str]:
    fields = {name: table.get(name).definition.options.model_fields.values() for name in table}
    return [name for name, options in fields.items() if not any(field.is_required() for field in options)]


class _Resolver:
    def __init__(self, loaded: LoadedSpec, plugins: Host) -> None:
        self.loaded = loaded
        self.plugins = plugins
        self.problems: list[Problem] = []
        self.num_failed = 0

    def problem(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

    def run(self) -> ResolvedRun | None:
        spec, registry = self.loaded.spec, self.plugins.registry
        if not spec.streams:
            self.problem(self.loaded.where("streams"), "a run needs at least one stream")
        tasks = with_windows(task for index in range(len(spec.streams)) for task in self._stream(index))
        self._selected()
        by_identity = self._unique(tasks)
        self._shared_heads(by_identity)
        where = self.loaded.where
        sampler = self.bind(registry.samplers, spec.schedule.sampler, where("schedule", "sampler"))
        balancer = self.bind(registry.balancers, spec.balancer, where("balancer"))
        executor = self.bind(registry.executors, spec.executor, where("executor"))
        estimators = self._estimators()
        augmenters = self._augmenters(by_identity)
        self._selection(by_identity)
        if balancer is not None:
            self.problems.extend(adapter_problems(spec, by_identity.values(), balancer.definition, where))
        if balancer is not None and sampler is not None:
            definitions = (sampler.definition, balancer.definition)
            self.problems.extend(distill_problems(by_identity.values(), spec, *definitions, where))
        feeds = tuple(feeds_of(tasks))
        if self.num_failed == 0 and by_identity:
            self._selectors(by_identity)
            self._schedule(sampler, balancer, feeds)
            self.problems.extend(sharding_problems(feeds))
            self.problems.extend(task_problems(by_identity.values()))
            self.problems.extend(room_problems(by_identity.values(), spec.encoder.max_length))
            if balancer is not None:
                self.problems.extend(wrapper_problems(by_identity.values(), spec, balancer.definition))
        if self.problems or sampler is None or balancer is None or executor is None:
            return None
        return ResolvedRun(
            self.loaded, by_identity, feeds, sampler, balancer, executor, estimators, augmenters
        )

    def bind(self, table: Table[D], component: Component, where: str) -> Bound[D] | None:
        """Return the named definition with its options, or record what is wrong."""
        try:
            entry = self.plugins.get(table, component.name)
        except PluginError as error:
            self.problem(f"{where}.name", str(error))
            return None
        try:
            options = validated_options(entry.definition.options, component.options, f"{where}.options")
        except SpecError as error:
            self.problems.extend(error.problems)
            return None
        return Bound(entry.definition, options, entry.provenance)

    def _stream(self, index: int) -> Iterable[Task]:
        stream = self.loaded.spec.streams[index]
        where = self.loaded.where("streams", index)
        clash = sorted(set(stream.tags) & {"identity", "task", "domain", "stream", "by", "together"})
        for tag in clash:
            self.problem(f"{where}.tags.{tag}", "is a word of its own; choose another tag")
        selector = self.loaded.spec.tasks
        for position, spec in enumerate(stream.tasks):
            if selector is not None and not matches(axes_of(stream, spec), selector):
                continue
            task = self._task(stream, spec, f"{where}.tasks[{position}]")
            if task is None:
                self.num_failed += 1
            else:
                yield task

    def _task(self, stream: StreamSpec, spec: TaskSpec, where: str) -> Task | None:
        registry = self.plugins.registry
        objective = self.bind(registry.objectives, spec.objective, f"{where}.objective")
        head = self.bind(registry.heads, spec.head, f"{where}.head")
        wrapper = None
        if spec.objective.wrapper is not None:
            wrapper = self.bind(registry.wrappers, spec.objective.wrapper, f"{where}.objective.wrapper")
        metrics = self._metrics(spec, head, where)
        is_complete = spec.objective.wrapper is None or wrapper is not None
        if objective is None or head is None or metrics is None or not is_complete:
            return None
        emits, needs = head.definition.emits, objective.definition.needs
        if emits not in needs:
            self.problem(
                f"{where}.head.name",
                f"{head.definition.name} emits {emits}, but objective {objective.definition.name}"
                f" scores {', '.join(sorted(needs))}",
            )
            return None
        self.problems.extend(head_problems(spec.head, head.definition, objective.definition, where))
        wrong = list(field_problems(spec, needs[emits], where))
        self.problems.extend(wrong)
        if wrong:
            return None
        problems = head.wrong(spec.fields)
        for problem in problems:
            self.problem(f"{where}.head.options.{problem.where}", problem.what)
        for problem in objective.wrong(head.options):
            self.problem(f"{where}.objective.options.{problem.where}", problem.what)
            problems.append(problem)
        if problems:
            return None
        identity = f"{spec.name}@{stream.domain}"
        adapter = self.loaded.spec.encoder.adapter
        own_adapter = adapter is not None and adapter.per == "task"
        return Task(identity, spec, stream, objective, head, metrics, where, wrapper, own_adapter)

    def _metrics(
        self, spec: TaskSpec, head: Bound[HeadDef] | None, where: str
    ) -> dict[str, Bound[MetricDef]] | None:
        metrics: dict[str, Bound[MetricDef]] = {}
        complete = True
        for index, item in enumerate(spec.metrics):
            component = Component(name=item) if isinstance(item, str) else item
            place = f"{where}.metrics[{index}]"
            bound = self.bind(self.plugins.registry.metrics, component, place)
            if bound is None:
                complete = False
            elif component.name in metrics:
                self.problem(place, f"{component.name} is named twice")
            elif head is not None and head.definition.emits not in bound.definition.accepts:
                fitting = [
                    name
                    for name in self.plugins.registry.metrics
                    if head.definition.emits in self.plugins.registry.metrics.get(name).definition.accepts
                ]
                self.problem(
                    place,
                    f"{component.name} does not read {head.definition.emits}, which head"
                    f" {head.definition.name} emits; metrics that do: {', '.join(fitting)}",
                )
                complete = False
            else:
                metrics[component.name] = bound
        if complete and spec.primary_metric is not None and spec.primary_metric not in metrics:
            self.problem(
                f"{where}.primary_metric",
                f"{spec.primary_metric} is not among the metrics{suggest(spec.primary_metric, metrics)}",
            )
            complete = False
        if complete and metrics and self._is_descriptive(spec, metrics, where):
            complete = False
        return metrics if complete else None

    def _is_descriptive(self, spec: TaskSpec, metrics: Mapping[str, Bound[MetricDef]], where: str) -> bool:
        primary = spec.primary_metric or next(iter(metrics))
        if metrics[primary].definition.descriptive:
            place = f"{where}.primary_metric" if spec.primary_metric else f"{where}.metrics[0]"
            self.problem(
                place, f"{primary} describes predictions and ranks none: set primary_metric to another metric"
            )
        return metrics[primary].definition.descriptive

    def _unique(self, tasks: Sequence[Task]) -> dict[str, Task]:
        found: dict[str, Task] = {}
        for task in tasks:
            if task.identity in found:
                self.problem(
                    task.where, f"{task.identity} is also the task at {found[task.identity].where}; "
                    "two tasks cannot have one name@domain"
                )  # fmt: skip
            found.setdefault(task.identity, task)
        names: dict[str, int] = {}
        for index, stream in enumerate(self.loaded.spec.streams):
            if stream.name in names:
                self.problem(
                    self.loaded.where("streams", index, "name"),
                    f"{stream.name} is also the name of {self.loaded.where('streams', names[stream.name])}",
                )
            names.setdefault(stream.name, index)
        return found

    def _shared_heads(self, tasks: Mapping[str, Task]) -> None:
        first: dict[str, Task] = {}
        for task in tasks.values():
            other = first.setdefault(task.head_key, task)
            mine, theirs = task.head, other.head
            if (mine.definition.name, mine.options) != (theirs.definition.name, theirs.options):
                self.problem(
                    f"{task.where}.head",
                    f"shares the head {task.head_key!r} with {other.where}, with another name or options",
                )
            for option in ("sharded", "tokenizer"):
                if getattr(task.spec.head, option) != getattr(other.spec.head, option):
                    what = f"differs from that of {other.where}, with which it shares the head"
                    self.problem(f"{task.where}.head.{option}", f"{what} {task.head_key!r}")

    def _schedule(
        self,
        sampler: Bound[SamplerDef] | None,
        balancer: Bound[BalancerDef] | None,
        feeds: Sequence[FeedPlan],
    ) -> None:
        tasks = {feed.name: tuple(task.identity for task in feed.tasks) for feed in feeds}
        if sampler is not None:
            self._checked(sampler, tasks, self.loaded.where("schedule", "sampler"))
            if self.loaded.spec.optimizer.consolidate is not None and not sampler.definition.staged:
                self.problem(
                    self.loaded.where("optimizer", "consolidate"),
                    f"looks back at the end of each stage, and sampler {sampler.definition.name} has none",
                )
            if sampler.definition.needs_scores and self.loaded.spec.evaluation.every is None:
                self.problem(
                    self.loaded.where("schedule", "sampler", "name"),
                    f"{sampler.definition.name} follows dev scores: set evaluation.every",
                )
        if balancer is not None:
            self._checked(balancer, tasks, self.loaded.where("balancer"))
            self._balancer(balancer.definition, tasks)

    def _checked(
        self, bound: Bound[SamplerDef] | Bound[BalancerDef], tasks: Mapping[str, Sequence[str]], where: str
    ) -> None:
        for problem in bound.wrong(tasks):
            self.problem(
                f"{where}.options.{problem.where}" if problem.where else f"{where}.name", problem.what
            )

    def _balancer(self, definition: BalancerDef, tasks: Mapping[str, Sequence[str]]) -> None:
        spec, where = self.loaded.spec, self.loaded.where
        several = spec.schedule.slots_per_step > 1 or any(len(names) > 1 for names in tasks.values())
        if definition.compares_tasks and not several:
            self.problem(
                where("balancer", "name"),
                f"{definition.name} compares the tasks of one step, and each step has one: set"
                " schedule.slots_per_step to 2 or more",
            )
        if spec.balancer.log_affinity_every:
            self._affinity(definition, several)

    def _affinity(self, definition: BalancerDef, several: bool) -> None:
        spec, where = self.loaded.spec, self.loaded.where("balancer", "log_affinity_every")
        if not several:
            self.problem(
                where,
                "compares the tasks of one step, and each step has one: set schedule.slots_per_step to 2 or"
                " more",
            )
        if spec.engine.name != "local":
            self.problem(
                where,
                f"needs each task's gradient of the whole encoder, and engine {spec.engine.name} keeps only"
                " their sum: set engine.name: local",
            )
        slices = definition.gradients or spec.balancer.log_gradients_every
        if slices and spec.balancer.scope != "all":
            self.problem(where, "needs each task's gradient of the whole encoder: set balancer.scope: all")

    def _augmenters(self, tasks: Mapping[str, Task]) -> dict[str, tuple[Bound[AugmenterDef], ...]]:
        found = {}
        for index, stream in enumerate(self.loaded.spec.streams):
            where = self.loaded.where("streams", index)
            bound = [
                self.bind(self.plugins.registry.augmenters, item, f"{where}.augment[{position}]")
                for position, item in enumerate(stream.augment)
            ]
            if bound:
                found[stream.name] = tuple(item for item in bound if item is not None)
                definitions = [item.definition for item in found[stream.name]]
                self.problems += check_targets(stream, tasks, definitions, f"{where}.augment")
                self.problems += check_adapting(stream, self.loaded.spec.evaluation, f"{where}.augment")
        return found

    def _estimators(self) -> tuple[Bound[EstimatorDef], ...]:
        table, named = self.plugins.registry.estimators, self.loaded.spec.prediction.estimators
        chosen: dict[str, Bound[EstimatorDef]] = {}
        for index, item in enumerate(named or _without_required_options(table)):
            component = Component(name=item) if isinstance(item, str) else item
            where = self.loaded.where("prediction", "estimators", index)
            if component.name in chosen:
                self.problem(where, f"{component.name} is named twice")
            elif (bound := self.bind(table, component, where)) is not None:
                chosen[component.name] = bound
        return tuple(chosen.values())

    def _selection(self, tasks: Mapping[str, Task]) -> None:
        select_by = self.loaded.spec.evaluation.select_by
        if select_by in (MEAN_GAIN, LAST):
            return
        where = self.loaded.where("evaluation", "select_by")
        identity, _, metric = select_by.rpartition("/")
        if identity not in tasks:
            self.problem(
                where,
                f"{select_by} is neither {MEAN_GAIN}, {LAST} nor TASK/METRIC{suggest(identity, tasks)}",
            )
        elif metric not in tasks[identity].metrics:
            self.problem(
                where, f"{identity} has no metric {metric!r}{suggest(metric, tasks[identity].metrics)}"
            )
        elif tasks[identity].metrics[metric].definition.descriptive:
            self.problem(where, f"{metric} describes predictions and ranks none: choose another metric")

    def _selectors(self, tasks: Mapping[str, Task]) -> None:
        axes = [task.axes for task in tasks.values()]
        for index, block in enumerate(self.loaded.spec.transfer):
            where = self.loaded.where("transfer", index)
            sources = block.sources if isinstance(block.sources, list) else [block.sources]
            for position, source in enumerate(sources):
                place = f"{where}.sources[{position}]" if len(sources) > 1 else f"{where}.sources"
                self._selector(source, axes, place)
            for position, source in enumerate(block.then):
                self._selector(source, axes, f"{where}.then[{position}]")
            self._selector(block.targets, axes, f"{where}.targets")

    def _selected(self) -> None:
        """Check the selector of the run's tasks, against all tasks that the streams have."""
        selector, spec = self.loaded.spec.tasks, self.loaded.spec
        if selector is None or not spec.streams:
            return
        where = self.loaded.where("tasks")
        if selector.by is not None:
            self.problem(f"{where}.by", "groups the sources of a transfer block; it selects no tasks")
        axes = [axes_of(stream, task) for stream in spec.streams for task in stream.tasks]
        self._selector(selector.model_copy(update={"by": None}), axes, where)

    def _selector(self, selector: Selector | str, axes: Sequence[Mapping[str, str]], where: str) -> None:
        """Check a selector against the axes of the tasks that it may select."""
        if not isinstance(selector, Selector):
            return
        known = {key for task in axes for key in task}
        for key, value in selector.criteria.items():
            if key not in known:
                self.problem(f"{where}.{key}", f"unknown axis{suggest(key, known)}")
                continue
            values = {task[key] for task in axes if key in task}
            for wanted in value:
                if wanted not in values:
                    self.problem(f"{where}.{key}", f"no task has {key} {wanted!r}{suggest(wanted, values)}")
        if selector.by is not None and selector.by not in known:
            self.problem(f"{where}.by", f"unknown axis {selector.by!r}{suggest(selector.by, known)}")
        if not self.problems and not any(matches(task, selector) for task in axes):
            self.problem(where, "matches no task")
