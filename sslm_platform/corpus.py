"""Everything that a run reads: its streams' rows, tokenizer, label sets and feeds, each read once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sslm_platform.data.augment import Augmentation
from sslm_platform.data.check import check_stream, unknown_rate, unspaced
from sslm_platform.data.feeds import Feed, FeedSplit, build_feed
from sslm_platform.data.fields import TaskRows, TaskSplit, label_names, read_task
from sslm_platform.data.load import StreamRows, load_stream
from sslm_platform.decisions import decides
from sslm_platform.errors import DataError, Problem, SpecError, SslmError, raise_all
from sslm_platform.kinds import FieldKind
from sslm_platform.model.adapter import add_adapter
from sslm_platform.model.backbone import backbone_without_values, config_of, load_tokenizer, vocabulary_of
from sslm_platform.model.layers import check_layers
from sslm_platform.model.lm_head import pretrained_lm_head
from sslm_platform.model.multitask import build_head
from sslm_platform.model.target_tokenizer import TargetCodec, pretrained_codec, trained_codec
from sslm_platform.report.records import TaskInfo
from sslm_platform.spec.resolved import FeedPlan, ResolvedRun, Task, feeds_of
from sslm_platform.types import HeadContext

NUM_WRITTEN = 1000  # target texts that a tokenizer is tried on
LOST = 0.05  # share of texts that are not written as they are, above which a run says so

log = logging.getLogger(__name__)


class Corpus:
    """The data of a run.

    Raises:
        DataError: on construction, with every problem of every stream.
    """

    def __init__(self, run: ResolvedRun, cache: Path) -> None:
        self.run = run
        self.cache = cache
        self.warnings: list[str] = []
        self.rows: dict[str, StreamRows] = {}
        self.task_rows: dict[str, TaskRows] = {}
        self._feeds: dict[tuple[Any, ...], Feed] = {}
        self._labels: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._codecs: dict[tuple[str, ...], TargetCodec] = {}
        self._read()
        self.tokenizer = load_tokenizer(run.spec.encoder, _TrainingTexts(self), cache)
        self.vocabulary = vocabulary_of(self.tokenizer)

    def labels(self, tasks: Iterable[Task]) -> tuple[str, ...]:
        """Return the labels of a head that these tasks share, from their training splits."""
        tasks = list(tasks)
        if not tasks[0].head.definition.emits.has_labels:
            return ()
        if tasks[0].objective.definition.labels:
            return tasks[0].objective.definition.labels
        key = tuple(task.identity for task in tasks)
        if key not in self._labels:
            self._labels[key] = label_names([self.task_rows[name] for name in key], tasks[0].needs)
        return self._labels[key]

    def text_tokenizer(self, tasks: Iterable[Task]) -> TargetCodec | None:
        """Return the tokenizer of the texts that a head of these tasks generates, or of words for masks.

        None for other heads.
        """
        tasks = list(tasks)
        definition = tasks[0].head.definition
        if not definition.emits.is_generated and not definition.reads_masks:
            return None
        spec = tasks[0].spec.head.tokenizer
        key = tuple(task.identity for task in tasks) if spec else ()
        if key not in self._codecs:
            own = None
            if spec is not None and spec.path is not None:
                own = pretrained_codec(spec.path)
            elif spec is not None:
                own = trained_codec(spec, _TargetTexts(self, tasks), self.cache)
            self._codecs[key] = own or TargetCodec(self.tokenizer, is_own=False)
        return self._codecs[key]

    def label_counts(
        self, task: Task, labels: Sequence[str], few: FeedSplit | None = None
    ) -> tuple[tuple[int, ...], int]:
        """Return how often a task's training split has each label, and how many examples it has.

        ``few`` are the examples that are learned of it, if these are not a random share of it.
        """
        field = target_field(task) or ""
        train = self.task_rows[task.identity].splits["train"]
        counts: Mapping[str, int] = train.facts.counts.get(field, {})
        if few is not None and counts:
            values = few.values(task.identity, field)
            counts = Counter(
                name for value in values for name in ([value] if isinstance(value, str) else value)
            )
        return tuple(counts.get(label, 0) for label in labels), len(train if few is None else few)

    def feeds(self, tasks: Sequence[Task], seed: int) -> dict[str, Feed]:
        """Return the feeds of some of the run's tasks; ``seed`` draws the training subsample."""
        return {plan.name: self._feed(plan, seed) for plan in feeds_of(tasks)}

    def task_feed(self, task: Task, seed: int) -> Feed:
        """Return the feed of one task alone."""
        return next(iter(self.feeds([task], seed).values()))

    def task_info(self, task: Task, seed: int) -> TaskInfo:
        """Return what records say of a task."""
        splits = self.task_feed(task, seed).splits
        available = self.task_rows[task.identity].splits
        return TaskInfo(
            identity=task.identity,
            name=task.spec.name,
            domain=task.stream.domain,
            stream=task.stream.name,
            tags=dict(task.stream.tags),
            num_train=len(splits["train"]),
            num_dev=len(splits["dev"]),
            num_test=len(splits["test"]),
            num_available=sum(len(split.rows) for split in available.values()),
        )

    def fingerprint(self, task: Task) -> dict[str, Any]:
        """Return what identifies a task's examples in a content hash."""
        return {
            "rows": self.rows[task.stream.name].fingerprint,
            "limit": task.stream.limit.model_dump(mode="json"),
            "fields": task.spec.model_dump(mode="json", include={"fields"})["fields"],
        }

    def check_unknown(self) -> None:
        """Refuse a tokenizer that turns much of a feed into unknown tokens.

        Raises:
            DataError: naming each stream and its rate.
        """
        limit = self.run.spec.encoder.max_unknown
        problems = []
        for plan in self.run.feeds:
            rate = unknown_rate(self._feed(plan, self.run.spec.seed), self.tokenizer)
            if rate > limit:
                problems.append(
                    Problem(
                        plan.tasks[0].where,
                        f"the tokenizer turns {rate:.0%} of the tokens into unknown ones (limit {limit:.0%});"
                        " take an encoder for this language, train a tokenizer, or raise encoder.max_unknown",
                    )
                )
            elif rate > limit / 4:
                self.warnings.append(f"{plan.name}: {rate:.1%} of the tokens are unknown to the tokenizer")
        for members in group_by_head(self.run.tasks).values():
            problems.extend(self._unwritable(members, limit))
        raise_all(DataError, problems)

    def _unwritable(self, members: Sequence[Task], limit: float) -> Iterator[Problem]:
        """Measure what a generating head's tokenizer loses of its tasks' first training targets."""
        codec = self.text_tokenizer(members) if members[0].head.definition.emits.is_generated else None
        for task in members if codec else ():
            assert codec is not None
            if task.objective.definition.makes_text:
                continue  # of what was read
            split = self.task_rows[task.identity].splits["train"]
            texts = split.values(target_field(task) or "", split.rows[:NUM_WRITTEN])
            whose = "head.tokenizer" if codec.is_own else "the encoder's tokenizer"
            rate, lost = codec.unknown_rate(texts), codec.lost_rate(texts)
            if rate > limit:
                what = f"{whose} turns {rate:.0%} of the targets into unknown tokens (limit {limit:.0%})"
                yield Problem(f"{task.where}.head", f"{what}; head.tokenizer with model bpe has none")
            elif lost > LOST:
                what = f"{lost:.0%} of the target texts lose case, accents or characters in {whose}"
                self.warnings.append(f"{task.identity}: {what}; head.tokenizer with model bpe loses nothing")

    def check_backbone(self) -> None:
        """Refuse names of layers that the encoder does not have, and an adapter that does not fit it.

        Raises:
            SpecError: with every one.
        """
        spec = self.run.spec
        self._note_new_lm_heads()
        if spec.optimizer.consolidate is not None:
            self._note_losses_of_batches()
        asks = spec.encoder.freeze or spec.encoder.adapter or isinstance(spec.encoder.dropout, dict)
        if not (asks or spec.optimizer.needs_layers):
            return
        backbone = backbone_without_values(spec.encoder, self.tokenizer)
        check_layers(backbone, spec.encoder.freeze, spec.optimizer.needs_layers)
        if spec.encoder.adapter is not None:
            add_adapter(backbone, spec.encoder.adapter, spec.encoder.path, seed=0)

    def check_heads(self) -> None:
        """Refuse heads, and options of theirs, that do not go with the encoder, the labels or the tokens.

        Raises:
            SpecError: with every one.
        """
        groups = group_by_head(self.run.tasks)
        config, problems = config_of(self.run.spec.encoder, self.tokenizer), []
        for members in groups.values():
            first = members[0]
            if first.head.definition.tied and (what := self._width_problem()):
                problems.append(Problem(f"{first.where}.head.name", f"{first.head.definition.name} {what}"))
                continue
            if first.head.definition.emits.is_generated:
                continue  # of its options none is about the data, and it is large
            sizes = (int(config.hidden_size), len(self.tokenizer), self.labels(members))
            context = HeadContext(*sizes, self.text_tokenizer(members), num_masks=first.num_masks)
            try:
                head = build_head(first.head, context, 0)
                if first.spec.head.sharded and decides(head):
                    what = "sets a threshold by what it says of a whole split, which a sharded head cannot"
                    problems.append(Problem(f"{first.where}.head.sharded", what))
            except SpecError as error:
                place = f"{first.where}.head.options"
                problems += [
                    Problem(f"{place}.{p.where}" if p.where else place, p.what) for p in error.problems
                ]
        raise_all(SpecError, problems)

    def _width_problem(self) -> str:
        """Return why no head can be tied to the encoder's token embeddings; empty where one can."""
        backbone = backbone_without_values(self.run.spec.encoder, self.tokenizer)
        states, width = backbone.config.hidden_size, backbone.get_input_embeddings().embedding_dim
        if states == width:
            return ""
        return (
            f"has tied weights: its logits are states ({states} wide) times the encoder's token embeddings,"
            f" which are {width} wide in this {backbone.config.model_type}; take one where both are equal"
        )

    def _note_losses_of_batches(self) -> None:
        tasks = self.run.tasks.values()
        names = [task.identity for task in tasks if not task.objective.definition.additive]
        if names:
            what = "losses are of whole batches, and one example's has no gradient: nothing is held of them"
            self.warnings.append(f"optimizer.consolidate: {', '.join(names)}: {what}")

    def _note_new_lm_heads(self) -> None:
        spec = self.run.spec.encoder
        tied = [task.identity for task in self.run.tasks.values() if task.head.definition.tied]
        if not tied or spec.path is None:
            return
        if pretrained_lm_head(spec, backbone_without_values(spec, self.tokenizer)) is None:
            what = "the encoder's checkpoint has no language-model head that fits: a new one is trained"
            self.warnings.append(f"{', '.join(tied)}: {what}")

    def augmentations(self, feeds: Mapping[str, Feed]) -> dict[str, Augmentation]:
        """Return what changes the training texts of the feeds whose stream asks for it."""
        found = {}
        for name, feed in feeds.items():
            bound = self.run.augmenters.get(feed.stream)
            if bound:
                task = self.run.tasks[feed.tasks[0]]
                steps = [
                    (item.build(), spec.probability)
                    for item, spec in zip(bound, task.stream.augment, strict=True)
                ]
                rows = self.rows[feed.stream].splits["train"]
                length = self.run.spec.encoder.max_length
                columns, room = dict(task.input_columns), task.target_room(length)
                found[name] = Augmentation(steps, rows, columns, self.tokenizer, length, task.form, room)
        return found

    def _feed(self, plan: FeedPlan, seed: int) -> Feed:
        tasks = {task.identity: self.task_rows[task.identity] for task in plan.tasks}
        seed = seed if plan.stream.limit.train is not None else 0  # without a limit nothing is drawn
        key = (plan.stream.name, *tasks, seed)
        if key not in self._feeds:
            self._feeds[key] = build_feed(
                self.rows[plan.stream.name],
                tasks,
                plan.name,
                self.tokenizer,
                max_length=self.run.spec.encoder.max_length,
                form=plan.tasks[0].form,
                limit=plan.stream.limit,
                seed=seed,
                cache=self.cache,
                room=plan.tasks[0].target_room(self.run.spec.encoder.max_length),
                readings=plan.tasks[0].readings,
                rows_apart=plan.tasks[0].objective.definition.encoder_calls > 1,
            )
        return self._feeds[key]

    def _read(self) -> None:
        problems: list[Problem] = []
        by_stream: dict[str, list[Task]] = {}
        for task in self.run.tasks.values():
            by_stream.setdefault(task.stream.name, []).append(task)
        for index, stream in enumerate(self.run.spec.streams):
            if stream.name not in by_stream:
                continue
            where = self.run.loaded.where("streams", index)
            base = self.run.loaded.stream_origins[index][0].parent
            try:
                rows = load_stream(stream, base=base, cache=self.cache, where=where)
                for task in by_stream[stream.name]:
                    self.task_rows[task.identity] = read_task(
                        rows, task.spec, task.needs, task.where, cache=self.cache
                    )
            except SslmError as error:
                problems.extend(error.problems)
                continue
            self.rows[stream.name] = rows
            read = {task.identity: self.task_rows[task.identity] for task in by_stream[stream.name]}
            tasks = {i: (self.run.tasks[i].needs, r, self.run.tasks[i].where) for i, r in read.items()}
            findings = check_stream(rows, tasks, stream.split.by)
            problems.extend(findings.problems)
            self.warnings.extend(str(warning) for warning in findings.warnings)
            if any(not bound.definition.rewrites for bound in self.run.augmenters.get(stream.name, ())):
                self.warnings.extend(str(warning) for warning in unspaced(tasks))
        raise_all(DataError, problems)


class _TrainingTexts:
    """Every training text once, for a tokenizer that is trained on them; read from disk at each pass."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def __iter__(self) -> Iterator[str]:
        for task, name in self._fields().values():
            kind = task.needs[name].kind
            for value in self._train(task).all_values(name):
                if kind is FieldKind.TEXTS:
                    yield from value
                else:
                    yield " ".join(value) if kind is FieldKind.TOKENS else value

    def _fields(self) -> dict[tuple[str, str], tuple[Task, str]]:
        """Return each stream's columns of text, with the task and field that have most of its rows."""
        found: dict[tuple[str, str], tuple[Task, str]] = {}
        for task in self._corpus.run.tasks.values():
            for name, column in task.input_columns:
                known = found.get((task.stream.name, column))
                is_text = task.needs[name].kind is not FieldKind.SPANS
                if is_text and (known is None or len(self._train(task)) > len(self._train(known[0]))):
                    found[task.stream.name, column] = task, name
        return found

    def _train(self, task: Task) -> TaskSplit:
        return self._corpus.task_rows[task.identity].splits["train"]


class _TargetTexts:
    """The training targets of some tasks, for a tokenizer that is trained on them."""

    def __init__(self, corpus: Corpus, tasks: Sequence[Task]) -> None:
        self._corpus = corpus
        self._tasks = tasks

    def __iter__(self) -> Iterator[str]:
        for task in self._tasks:
            split = self._corpus.task_rows[task.identity].splits["train"]
            yield from split.all_values(target_field(task) or "")


def target_field(task: Task) -> str | None:
    """Return the task's one field that is not an input, or None (self-supervised)."""
    names = [name for name in task.spec.fields if not task.needs[name].kind.is_input]
    return names[0] if names else None


def group_by_head(tasks: Mapping[str, Task]) -> dict[str, list[Task]]:
    """Return the tasks of each head."""
    groups: dict[str, list[Task]] = {}
    for task in tasks.values():
        groups.setdefault(task.head_key, []).append(task)
    return groups
