"""A model for some of a run's tasks: the shared encoder, their heads, their objectives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sslm_platform.corpus import Corpus, group_by_head
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.engine.weights import TensorFile
from sslm_platform.errors import Problem, RunError
from sslm_platform.evaluate import TaskModel
from sslm_platform.generating import TextTokenizer
from sslm_platform.interfaces import Objective
from sslm_platform.model.adapter import is_adapted, is_per_task, load_adapter
from sslm_platform.model.attention import check_attention
from sslm_platform.model.backbone import load_backbone
from sslm_platform.model.continuing import keeps_states
from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.model.lm_head import pretrained_lm_head
from sslm_platform.model.multitask import TaskHead, build_head
from sslm_platform.model.store import ADAPTER, PREFIX, HeadInfo, read_heads, save_model
from sslm_platform.model.task_adapter import adapter_of, give_adapters, take_adapter, wear
from sslm_platform.spec.resolved import Task
from sslm_platform.types import HeadContext, ObjectiveContext, WrapperContext


@dataclass(frozen=True, slots=True)
class Model:
    """An encoder with the heads of some tasks."""

    encoder: SharedEncoder
    heads: dict[str, nn.Module]
    tasks: dict[str, TaskModel]
    infos: dict[str, HeadInfo]

    def with_heads(self, heads: Mapping[str, nn.Module]) -> Model:
        """Return the same model with its heads called through these modules, an engine's."""
        tasks = {
            name: replace(m, head=replace(m.head, module=heads[m.task.head_key]))
            for name, m in self.tasks.items()
        }
        return replace(self, heads=dict(heads), tasks=tasks)

    def save(
        self,
        folder: Path,
        tokenizer: Any,
        encoder: Mapping[str, Tensor],
        heads: Mapping[str, Mapping[str, Tensor]],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Write these weights as a model folder, atomically, with what is to be said of them."""
        saved = {name: (self.infos[name], state) for name, state in heads.items()}
        save_model(folder, self.encoder.backbone, tokenizer, encoder, saved, facts)

    def said_of_parameters(self) -> str:
        """Return how much of the encoder is trained; empty where all is that a head reads."""
        pooler = getattr(self.encoder.backbone, "pooler", None)
        unread = {id(p) for p in pooler.parameters()} if pooler is not None else set()
        read = [p for p in self.encoder.parameters() if id(p) not in unread]
        trained, total = sum(p.numel() for p in read if p.requires_grad), sum(p.numel() for p in read)
        share = f"{trained:,} of {total:,} parameters of the encoder are trained ({trained / total:.2%})"
        owned = [adapter_of(head) for head in self.heads.values()]
        sizes = {sum(p.numel() for p in adapter.parameters()) for adapter in owned if adapter is not None}
        if sizes:
            share += f"; each head has an adapter of its own, of {max(sizes):,} ({max(sizes) / total:.2%})"
        return share if trained < total else ""

    def give_adapters(self) -> None:
        """Where each head has an adapter of its own, let it begin as the one inside the encoder."""
        if is_per_task(self.encoder.backbone):
            give_adapters(self.encoder.backbone, self.heads.values())

    def wear(self) -> None:
        """Move the adapter of the model's only head into the encoder, where others read it."""
        if is_per_task(self.encoder.backbone):
            (head,) = self.heads.values()
            wear(self.encoder.backbone, head)

    def only(self, tasks: Sequence[Task]) -> Model:
        """Return the same encoder with the heads of some of the tasks."""
        names = {task.identity for task in tasks}
        keys = {task.head_key for task in tasks}
        infos = {
            key: info.model_copy(update={"tasks": tuple(name for name in info.tasks if name in names)})
            for key, info in self.infos.items()
            if key in keys
        }
        heads = {key: head for key, head in self.heads.items() if key in keys}
        return Model(self.encoder, heads, {n: m for n, m in self.tasks.items() if n in names}, infos)

    def load_weights(self, encoder: Mapping[str, Tensor], heads: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load weights as an engine returns them."""
        self.encoder.load_state_dict(encoder)
        for name, head in self.heads.items():
            head.load_state_dict(heads[name])

    def load(self, folder: Path) -> None:
        """Load the weights of a model folder.

        Raises:
            RunError: the folder lacks a head, or its weights are of another model.
        """
        load_encoder(self.encoder, folder)
        saved = read_heads(folder)
        for name, head in self.heads.items():
            if name not in saved or saved[name][0].labels != self.infos[name].labels:
                raise RunError(Problem(str(folder / "heads" / name), "missing, or trained with other labels"))
            if saved[name][0].tokenizer != self.infos[name].tokenizer:
                what = "trained with another tokenizer; is the cache another?"
                raise RunError(Problem(str(folder / "heads" / name), what))
            _check_adapter(folder / "heads" / name, head, saved[name][1])
            head.load_state_dict(saved[name][1])


def build_model(corpus: Corpus, tasks: Sequence[Task], seed: int) -> Model:
    """Build the pretrained (or random) encoder with new heads for the tasks."""
    backbone = load_backbone(corpus.run.spec.encoder, corpus.tokenizer, seed)
    check_attention(backbone, [task.objective.definition.attention for task in corpus.run.tasks.values()])
    model = add_heads(corpus, SharedEncoder(backbone), tasks, seed)
    model.give_adapters()
    return model


def add_heads(corpus: Corpus, encoder: SharedEncoder, tasks: Sequence[Task], seed: int) -> Model:
    """Put new heads for the tasks on an encoder; tasks with one head key share the head and its labels."""
    size = encoder.backbone.get_input_embeddings().num_embeddings
    writes = any(task.head.definition.tied and task.head.definition.emits.is_generated for task in tasks)
    kept = encoder.backbone if writes and keeps_states(encoder.backbone) else None
    heads, models, infos = {}, {}, {}
    for key, members in group_by_head({task.identity: task for task in tasks}).items():
        bound = members[0].head
        labels, tokenizer = corpus.labels(members), corpus.text_tokenizer(members)
        is_tied = bound.definition.tied
        context = HeadContext(
            encoder.hidden_size,
            size,
            labels,
            tokenizer,
            num_masks=members[0].num_masks,
            lm_head=pretrained_lm_head(corpus.run.spec.encoder, encoder.backbone) if is_tied else None,
            norm_eps=encoder.norm_eps,
        )
        heads[key] = build_head(bound, context, seed, key)
        infos[key] = HeadInfo(
            name=bound.definition.name,
            options=bound.options.model_dump(mode="json"),
            labels=labels,
            tasks=tuple(task.identity for task in members),
            distribution=bound.provenance.distribution,
            version=bound.provenance.version,
            tokenizer=tokenizer.content if tokenizer is not None and tokenizer.is_own else "",
            facts=getattr(heads[key], "facts", {}),
        )
        for task in members:
            model = task_model(corpus, task, heads[key], labels, size, tokenizer)
            models[task.identity] = replace(model, backbone=kept)
    return Model(encoder, heads, models, infos)


def task_model(
    corpus: Corpus,
    task: Task,
    head: Any,
    labels: tuple[str, ...],
    vocabulary: int,
    tokenizer: TextTokenizer | None = None,
) -> TaskModel:
    """Bind a task to a head, its labels and perhaps its tokenizer, and an objective."""
    definition = task.head.definition
    objective = build_objective(corpus, task, labels, tokenizer)
    width = len(labels) if definition.emits.has_labels else tokenizer.size if tokenizer else vocabulary
    wrapper = task.wrapper.build(WrapperContext(definition.emits)) if task.wrapper is not None else None
    room = task.target_room(corpus.run.spec.encoder.max_length)
    return TaskModel(
        task, objective, TaskHead(head, definition.tied), labels, width, tokenizer, wrapper, room
    )


def build_objective(
    corpus: Corpus,
    task: Task,
    labels: tuple[str, ...],
    tokenizer: TextTokenizer | None = None,
    few: FeedSplit | None = None,
) -> Objective:
    """Build a task's objective; ``few`` is a draw that stands in the training split's place."""
    counts, num_train = corpus.label_counts(task, labels, few)
    emits = task.head.definition.emits
    return task.objective.build(
        ObjectiveContext(emits, corpus.vocabulary, labels, counts, num_train, tokenizer)
    )


def load_trained(corpus: Corpus, tasks: Sequence[Task], folder: Path, seed: int = 0) -> Model:
    """Build the tasks' model with the weights of a model folder.

    Raises:
        RunError: the folder lacks a head, or its weights are of another model.
    """
    model = build_model(corpus, tasks, seed)
    model.load(folder)
    return model


def load_encoder(encoder: SharedEncoder, folder: Path) -> None:
    """Load the encoder's weights of a model folder, or its adapter's where it has one.

    Raises:
        RunError: they are of another model.
    """
    if is_per_task(encoder.backbone):
        return  # it is the pretrained one, and the adapters are the heads'
    if is_adapted(encoder.backbone):
        load_adapter(folder / ADAPTER, encoder.backbone)
    else:
        encoder.load_state_dict(encoder_weights(folder))


def _check_adapter(folder: Path, head: nn.Module, saved: Mapping[str, Tensor]) -> None:
    mine, theirs = ({n: v.shape for n, v in take_adapter(s)[1].items()} for s in (head.state_dict(), saved))
    if mine != theirs:
        what = "is an adapter of another form than encoder.adapter says" if theirs else "missing"
        raise RunError(Problem(str(folder / ADAPTER), what))


def trained_weights(corpus: Corpus, folder: Path, seed: int) -> Mapping[str, Tensor]:
    """Read a model folder's encoder as an engine of this run takes it."""
    spec = corpus.run.spec.encoder
    if spec.adapter is None:
        return encoder_weights(folder)
    encoder = SharedEncoder(load_backbone(spec, corpus.tokenizer, seed))
    load_encoder(encoder, folder)
    return encoder.state_dict()


def encoder_weights(folder: Path) -> Mapping[str, Tensor]:
    """Return the encoder's weights of a model folder, named as in :class:`SharedEncoder`; each lookup reads.

    Raises:
        RunError: there are none, or they are damaged.
    """
    files = sorted((folder / "encoder").glob("*.safetensors"))
    if not files:
        raise RunError(Problem(str(folder), "has no encoder weights"))
    found: dict[str, TensorFile] = {}
    for file in files:
        weights = TensorFile(file, added=PREFIX)
        found |= dict.fromkeys(weights, weights)
    return _Files(found)


class _Files(Mapping[str, Tensor]):
    """Weights in several files, as one mapping."""

    def __init__(self, files: Mapping[str, TensorFile]) -> None:
        self._files = files

    def __getitem__(self, name: str) -> Tensor:
        return self._files[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
