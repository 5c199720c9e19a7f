"""Scores of a model on a split: predictions of every task of a feed, then metrics with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslm_platform.corpus import target_field
from sslm_platform.data.augment import Augmentation
from sslm_platform.data.batching import ExampleGenerators, collate_inputs
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.decisions import scores_of, target_bytes
from sslm_platform.gathering import Gather, Part, join_parts
from sslm_platform.generating import TextTokenizer
from sslm_platform.interfaces import (
    Encoded,
    Objective,
    Scored,
    ScoringObjective,
    TaskBatch,
    rows_by_example,
)
from sslm_platform.kinds import OutputKind
from sslm_platform.model.attention import visible_tokens
from sslm_platform.model.continuing import Continuation
from sslm_platform.model.multitask import Encode, TaskHead, encode_inputs, task_outputs
from sslm_platform.passes import Wrapper
from sslm_platform.ranking import rank_vectors
from sslm_platform.spec.resolved import Task
from sslm_platform.types import ObjectiveDef

EVALUATION_SEED = 0  # masks of dev and test examples are the same in every evaluation of every run
TOKENS_PER_BATCH = 4096

Outputs = Callable[["Batch"], Mapping[str, Tensor]]
GoesOn = Callable[[bool], bool]
Texts = Callable[["Batch", GoesOn], Mapping[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class TaskModel:
    """A task with what evaluating it takes."""

    task: Task
    objective: Objective
    head: TaskHead
    labels: tuple[str, ...]
    width: int  # of the head's outputs: labels, or the vocabulary
    tokenizer: TextTokenizer | None = None  # of heads that generate
    wrapper: Wrapper | None = None
    room: int = 0  # tokens of a target that the encoder itself writes
    backbone: Any = None  # which it writes with, if that keeps keys and values

    @property
    def is_generated(self) -> bool:
        """Whether the task's predictions are texts."""
        return self.task.head.definition.emits.is_generated

    @property
    def writes(self) -> bool:
        """Whether its texts are worth their time: some metric reads more than losses."""
        metrics = self.task.metrics.values()
        return self.is_generated and any(bound.definition.needs_predictions for bound in metrics)


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of a split, collated for each of its tasks."""

    rows: np.ndarray
    inputs: dict[str, Tensor | None]
    tasks: dict[str, TaskBatch]
    examples: dict[str, list[Encoded]]
    key: tuple[int, int]  # seed and epoch of the generators
    keys_B: np.ndarray  # the examples' own part of it
    windows_B: np.ndarray  # rows of the inputs that each example has

    def generators(self, stream: int = 0) -> ExampleGenerators:
        """Return each example's random numbers from their beginning."""
        return ExampleGenerators(self.key, self.keys_B, stream)


def make_batch(
    split: FeedSplit,
    rows: np.ndarray,
    models: Mapping[str, TaskModel],
    pad_id: int,
    seed: int,
    epoch: int,
    device: torch.device | None = None,
    augmentation: Augmentation | None = None,
) -> Batch:
    """Collate rows of a split for tasks that share their input; noise is keyed by (seed, epoch, example)."""
    generators = ExampleGenerators((seed, epoch), split.keys_N[rows])
    examples = {t: split.encoded(t, rows.tolist(), m.labels) for t, m in models.items()}
    if augmentation is not None:
        labels = {task: model.labels for task, model in models.items()}
        changed = augmentation.apply(split, rows, examples, labels, (seed, epoch))
        examples = {t: _augmented(m, examples[t], changed[t]) for t, m in models.items()}
    key = (seed, epoch)
    examples = {t: with_partners(m, split, rows.tolist(), examples[t], key) for t, m in models.items()}
    batches = {t: m.objective.collate(examples[t], generators) for t, m in models.items()}
    given = next(iter(batches.values()))  # one that changes the input is alone
    first = next(iter(models))  # what it says of attention and calls holds for all: they share an encoding
    definition = models[first].task.objective.definition
    tensors, windows_B = input_tensors(definition, examples[first], given, pad_id)
    if device is not None and device.type != "cpu":
        tensors = {k: v if v is None or k == "lengths_CR" else _sent(v, device) for k, v in tensors.items()}
        batches = {t: to_device(batch, device) for t, batch in batches.items()}
    return Batch(rows, tensors, batches, examples, (seed, epoch), split.keys_N[rows], windows_B)


def input_tensors(
    definition: ObjectiveDef, examples: Sequence[Encoded], batch: TaskBatch, pad_id: int
) -> tuple[dict[str, Tensor | None], np.ndarray]:
    """Return what :func:`~sslm_platform.model.multitask.encode_inputs` reads, and how many rows of it each
    example has.
    """
    inputs = collate_inputs(
        examples,
        batch.input_ids,
        pad_id,
        batch.segments,
        batch.windows,
        batch.calls,
        definition.encoder_calls,
    )
    tensors = {
        "input_ids_BL": inputs.input_ids_BL,
        "mask_BL": inputs.mask_BL,
        "segment_BL": inputs.segment_BL,
        "visible_B1LL": visible_tokens(inputs.mask_BL, definition.attention, batch.prefix_B),
        "lengths_CR": inputs.lengths_CR,
    }
    return tensors, inputs.windows_B


def _augmented(model: TaskModel, examples: list[Encoded], changed: list[Encoded]) -> list[Encoded]:
    """Return the changed texts, or the texts with the changed ones beside them."""
    if not model.task.objective.definition.variants:
        return changed
    return [replace(e, variant=None if c is e else c) for e, c in zip(examples, changed, strict=True)]


def rewritten(batch: Batch, models: Mapping[str, TaskModel]) -> Batch:
    """Return the batch as the encoder is to read it: a task's head may put other tokens in first."""
    for task, model in models.items():
        if model.task.head.definition.rewrites:  # its objective changes the input: it is alone
            ids_BL, mask_BL = batch.inputs["input_ids_BL"], batch.inputs["mask_BL"]
            new_BL, targets = model.head.module.rewrite(ids_BL, mask_BL, batch.tasks[task].targets)
            tasks = {task: replace(batch.tasks[task], targets=targets)}
            return replace(batch, inputs={**batch.inputs, "input_ids_BL": new_BL}, tasks=tasks)
    return batch


def with_partners(
    model: TaskModel, split: FeedSplit, rows: Sequence[int], examples: list[Encoded], key: tuple[int, int]
) -> list[Encoded]:
    """Return a task's examples of a split, each with another one if the objective asks for it.

    ``key`` is seed and epoch.
    """
    if not model.task.objective.definition.partners:
        return examples
    generators = ExampleGenerators(key, split.keys_N[np.asarray(rows, dtype=np.int64)], stream=3)
    name = model.task.identity
    partners = [split.partner(name, row, rng) for row, rng in zip(rows, generators, strict=True)]
    return [replace(e, partner=partner) for e, partner in zip(examples, partners, strict=True)]


def to_device(batch: TaskBatch, device: torch.device) -> TaskBatch:
    """Return the batch with its targets on a device.

    Its weights stay where they are: they are summed on the host, and a read from the device waits for it.
    """
    targets = {name: _sent(value, device) for name, value in batch.targets.items()}
    return replace(batch, targets=targets)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy without waiting: from pinned memory, which a GPU reads by itself."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def evaluation_batches(lengths_N: np.ndarray, tokens: int = TOKENS_PER_BATCH) -> list[np.ndarray]:
    """Cut a split, sorted by length, into batches of at most ``tokens`` padded tokens, longest first."""
    order = np.argsort(-lengths_N, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, tokens // int(lengths_N[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def outputs_of(encode: Encode, models: Mapping[str, TaskModel]) -> Outputs:
    """Return the function from a batch to the model's outputs."""

    def run(batch: Batch) -> dict[str, Tensor]:
        heads = {task: models[task].head for task in batch.tasks}
        return task_outputs(encode, heads, batch.inputs, {t: b.targets for t, b in batch.tasks.items()})

    return run


def texts_of(encode: Encode, models: Mapping[str, TaskModel]) -> Texts:
    """Return the function from a batch to the texts of those heads that generate."""

    def run(batch: Batch, goes_on: GoesOn) -> dict[str, Sequence[str]]:
        writing = {task: models[task] for task in batch.tasks if models[task].writes}
        reading = [model.head for model in writing.values() if not model.head.tied]
        mask_BL = batch.inputs["mask_BL"]
        adapter = reading[0].adapter if reading else None  # heads with one are all one head
        hidden_BLD = encode_inputs(encode, batch.inputs, adapter=adapter)[0] if reading else None
        found = {}
        for task, model in writing.items():
            head, generators = model.head.module, batch.generators()
            if model.head.tied:
                continued = _continuation(encode, model, batch)
                found[task] = head.write(continued, generators, goes_on)
            else:
                found[task] = head.generate(hidden_BLD, mask_BL, generators, goes_on)
        return {task: [best_of(text) for text in texts] for task, texts in found.items()}

    return run


def best_of(text: str | Sequence[str]) -> str:
    """Return the first of some texts, or the one that there is."""
    return text if isinstance(text, str) else text[0]


def _continuation(encode: Encode, model: TaskModel, batch: Batch) -> Continuation:
    prefix_B = batch.tasks[model.task.identity].prefix_B
    assert prefix_B is not None, "a tied head that writes goes with an objective of prefix attention"
    return Continuation(encode, model.head.module, batch.inputs, prefix_B, model.room, model.backbone)


def no_texts(batch: Batch, goes_on: GoesOn) -> Mapping[str, Sequence[str]]:
    """Generate nothing: no head does."""
    return {}


def score_feed(
    outputs: Outputs,
    split: FeedSplit,
    models: Mapping[str, TaskModel],
    pad_id: int,
    *,
    texts: Texts = no_texts,
    device: torch.device | None = None,
    rank: int = 0,
    world_size: int = 1,
    gather: Gather | None = None,
) -> dict[str, Scored]:
    """Score a feed's split; every rank calls ``outputs`` and ``texts`` equally often.

    Returns:
        Each task's predictions, references and losses in the order of its own examples in the split, on all
        ranks.
    """

    def goes_on(unfinished: bool) -> bool:
        return any(gather(unfinished)) if gather is not None else unfinished

    parts: dict[str, list[Part]] = {task: [] for task in models}
    with torch.no_grad():
        for places_G, served in split.parts():  # in the same order on all ranks
            own = {task: model for task, model in models.items() if task in served}
            if not own:
                continue
            sizes_N = split.longest_N if split.number_N is None else split.longest_N * split.number_N
            batches = [places_G[rows] for rows in evaluation_batches(sizes_N[places_G])]
            mine = batches[rank::world_size]
            for index in range(-(-len(batches) // world_size)):
                padding = index >= len(mine)
                rows = batches[0] if padding else mine[index]
                batch = rewritten(make_batch(split, rows, own, pad_id, EVALUATION_SEED, 0, device), own)
                result, generated = outputs(batch), texts(batch, goes_on)
                if not padding:
                    for task, model in own.items():
                        part = _part(model, batch, result[task], generated.get(task))
                        parts[task].append(replace(part, rows=split.places_of(task, rows)))
    its = {task: split.of(task) for task in models}
    joined = {task: join_parts(parts[task], len(its[task]), gather) for task in models}
    return {task: _ranked(models[task].task, its[task], scored) for task, scored in joined.items()}


def _ranked(task: Task, split: FeedSplit, scored: Scored) -> Scored:
    return rank_vectors(task, split, scored) if task.head.definition.emits is OutputKind.RANKING else scored


def score_batches(model: TaskModel, results: Sequence[tuple[Batch, Tensor]]) -> Scored:
    """Score outputs that are already there; the batches together are one split."""
    return join_parts(
        [_part(model, *result) for result in results], sum(len(b.rows) for b, _ in results), None
    )


def _part(model: TaskModel, batch: Batch, outputs: Tensor, texts: Sequence[str] | None = None) -> Part:
    identity = model.task.identity
    scored = score_outputs(model, batch.tasks[identity], batch.examples[identity], outputs, texts)
    return Part(batch.rows, scored)


def score_outputs(
    model: TaskModel,
    batch: TaskBatch,
    examples: Sequence[Encoded],
    outputs: Tensor,
    texts: Sequence[str] | None = None,
) -> Scored:
    """Return predictions (``texts``, where they were generated), references and losses of one batch."""
    if texts is not None:
        predictions = texts
    elif model.is_generated:
        predictions = [""] * len(examples)  # which no metric reads
    else:
        predictions = model.head.module.predict(outputs, batch.targets, len(examples))
    objective = model.objective
    losses = objective.score_losses if isinstance(objective, ScoringObjective) else objective.losses
    losses_B = losses(outputs, batch.targets, len(examples))
    return Scored(
        list(predictions),
        references(model, batch, examples),
        losses_B.detach().double().cpu().numpy(),
        batch.weight_B.double().cpu().numpy(),
        scores_of(model.task, model.head.module, outputs, batch.targets, len(examples)),
        target_bytes(model.task, batch.targets, examples),
    )


def references(model: TaskModel, batch: TaskBatch, examples: Sequence[Encoded]) -> list[Any]:
    """Return what is right of each example, in the form of predictions."""
    task = model.task
    emits, definition = task.head.definition.emits, task.objective.definition
    is_text = definition.makes_text
    made_rows = bool(definition.labels) and emits is OutputKind.TOKEN_LOGITS
    if is_text or made_rows or emits is OutputKind.VOCABULARY_LOGITS:
        labels_N, example_N = (batch.targets[name].cpu().numpy() for name in ("labels", "example"))
        rows = rows_by_example(labels_N, example_N, len(examples))
        return _decoded(model, rows) if is_text else list(rows)
    if definition.labels:
        return batch.targets["labels"].cpu().tolist()
    field = target_field(task)
    found = [example.values[field] if field else None for example in examples]
    if task.head.definition.emits is OutputKind.CHOICE_LOGITS:
        return [np.array([place]) for place in found]
    return found


def _decoded(model: TaskModel, rows: Sequence[np.ndarray]) -> list[str]:
    assert model.tokenizer is not None
    return list(model.tokenizer.decode([row.tolist() for row in rows]))
