"""What heads read of one encoder: every example is encoded once, whoever asks, in whatever order.

Tasks of one stream that read the same input, seeds that draw different training examples, the probe and the
zero-shot head of one target: all of them ask for states of the same rows. The store keeps those states in
memory, the least recently used ones only as long as there is room. They are not written to disk: all cells of
an encoder are measured by one process, and states of a data set are about as large as the model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslm_platform.corpus import Corpus
from sslm_platform.data.batching import ExampleGenerators
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.evaluate import (
    EVALUATION_SEED,
    TaskModel,
    evaluation_batches,
    make_batch,
    to_device,
    with_partners,
)
from sslm_platform.interfaces import Encoded, TaskBatch
from sslm_platform.kinds import OutputKind
from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.model.multitask import encode_inputs
from sslm_platform.spec.data import SplitName

MAX_BYTES = 2 << 30  # of states in memory: 700,000 tokens of a BERT-base
ROWS_BY_TARGET = (
    OutputKind.TOKEN_LOGITS,
    OutputKind.TAG_PAIR_LOGITS,
    OutputKind.SPAN_LOGITS,
    OutputKind.VOCABULARY_LOGITS,
    OutputKind.VECTORS,
    OutputKind.RANKING,
    OutputKind.CHOICE_LOGITS,
)


@dataclass(frozen=True, slots=True)
class Features:
    """A split as one task's head reads it; no gradient flows into it.

    Attributes:
        rows: float32, (B, D), or (N, D) where the task's targets have N rows; in the order of the split.
        batch: the targets of all B examples.
        examples: as the task sees them.
        num_tokens: of the examples.
    """

    rows: Tensor
    batch: TaskBatch
    examples: Sequence[Encoded]
    num_tokens: int

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return len(self.examples)


@dataclass(frozen=True, slots=True)
class _States:
    """One encoded batch: the examples' rows in the stream's split, and their states.

    ``windows_B`` is how many rows of the states each example has: its windows.
    """

    rows_B: np.ndarray
    windows_B: np.ndarray
    hidden_BLD: Tensor
    mask_BL: Tensor

    @property
    def num_bytes(self) -> int:
        return self.hidden_BLD.numel() * self.hidden_BLD.element_size()

    def at(self, places: np.ndarray) -> _States:
        """Return the states of some of the examples."""
        if len(places) == len(self.rows_B):
            return self
        ends_B = np.cumsum(self.windows_B)
        chosen = [np.arange(ends_B[place] - self.windows_B[place], ends_B[place]) for place in places]
        index = torch.from_numpy(np.concatenate(chosen)).to(self.hidden_BLD.device)
        kept = (self.rows_B[places], self.windows_B[places])
        return _States(*kept, self.hidden_BLD[index], self.mask_BL[index])


class FeatureStore:
    """Features of one frozen encoder, without dropout.

    Attributes:
        num_tokens: tokens encoded so far, padding apart.
    """

    def __init__(
        self, corpus: Corpus, encoder: SharedEncoder, device: torch.device, max_bytes: int = MAX_BYTES
    ) -> None:
        self.corpus = corpus
        self.encoder = encoder
        self.device = device
        self.max_bytes = max_bytes
        self.num_tokens = 0
        self._states: OrderedDict[tuple[Any, ...], list[_States]] = OrderedDict()

    def read(self, model: TaskModel, split: SplitName, seed: int) -> Features:
        """Return what the model's head reads of its task's split; its weights do not matter.

        Args:
            model: an untied head, with the labels that number the targets.
            split: of the task's stream.
            seed: draws the training examples where the stream is limited.
        """
        part = self.corpus.task_feed(model.task, seed).splits[split]
        return self.read_rows(model, part, split)

    def read_rows(self, model: TaskModel, part: FeedSplit, split: SplitName) -> Features:
        """Return what the model's head reads of these examples of its task's split."""
        examples = part.encoded(model.task.identity, range(len(part)), model.labels)
        examples = with_partners(model, part, range(len(part)), examples, (EVALUATION_SEED, 0))
        batch = _collate(model, part, examples, range(len(part)))
        place = {int(row): index for index, row in enumerate(part.rows_N)}
        found: list[Tensor] = [torch.empty(0)] * len(part)
        self.encoder.eval()
        with torch.no_grad():
            for states in self._encoded(model, part, split):
                places = [place[int(row)] for row in states.rows_B]
                for index, rows in zip(
                    places, self._features(model, part, examples, places, states), strict=True
                ):
                    found[index] = rows
        return Features(torch.cat(found), to_device(batch, self.device), examples, int(part.lengths_N.sum()))

    def _features(
        self,
        model: TaskModel,
        part: FeedSplit,
        examples: Sequence[Encoded],
        places: list[int],
        states: _States,
    ) -> Sequence[Tensor]:
        """Return each example's rows."""
        if model.task.head.definition.emits.is_generated:  # it reads the states themselves
            return states.hidden_BLD[states.mask_BL.bool()].split(states.mask_BL.sum(dim=1).tolist())
        batch = to_device(_collate(model, part, [examples[i] for i in places], places), self.device)
        rows = model.head.module.features(states.hidden_BLD, states.mask_BL, batch.targets).float()
        if model.task.head.definition.emits not in ROWS_BY_TARGET:
            return rows.split(1)
        example_N = batch.targets["example"]
        order = torch.argsort(example_N, stable=True)
        return rows[order].split(torch.bincount(example_N, minlength=len(places)).tolist())

    def _encoded(self, model: TaskModel, part: FeedSplit, split: SplitName) -> Iterator[_States]:
        """Yield the states of these examples, the kept ones first; what is not kept is encoded."""
        key = (*model.task.encoding, split)
        kept = self._states.setdefault(key, [])
        self._states.move_to_end(key)
        missing = np.ones(len(part), dtype=bool)
        for states in list(kept):
            wanted = np.flatnonzero(np.isin(states.rows_B, part.rows_N))
            if len(wanted):
                missing &= ~np.isin(part.rows_N, states.rows_B)
                yield states.at(wanted)
        for rows in evaluation_batches(part.lengths_N[missing]):
            states = self._encode(model, part, np.flatnonzero(missing)[rows])
            if self._has_room(states.num_bytes):
                kept.append(states)
            yield states

    def _encode(self, model: TaskModel, part: FeedSplit, rows: np.ndarray) -> _States:
        models = {model.task.identity: model}
        pad_id = self.corpus.vocabulary.pad_id
        batch = make_batch(part, rows, models, pad_id, EVALUATION_SEED, 0, self.device)
        inputs = batch.inputs
        mask_BL = inputs["mask_BL"]
        assert mask_BL is not None
        hidden_BLD, _ = encode_inputs(self.encoder, inputs)
        self.num_tokens += int(part.lengths_N[rows].sum())
        return _States(part.rows_N[rows], batch.windows_B, hidden_BLD, mask_BL)

    def _has_room(self, num_bytes: int) -> bool:
        """Forget what was not read for longest, but not what is being read; whether it was enough."""
        while self._num_bytes() + num_bytes > self.max_bytes and len(self._states) > 1:
            self._states.popitem(last=False)
        return self._num_bytes() + num_bytes <= self.max_bytes

    def _num_bytes(self) -> int:
        return sum(states.num_bytes for kept in self._states.values() for states in kept)


def _collate(
    model: TaskModel, part: FeedSplit, examples: Sequence[Encoded], places: Sequence[int]
) -> TaskBatch:
    generators = ExampleGenerators((EVALUATION_SEED, 0), part.keys_N[np.asarray(places, dtype=np.int64)])
    return model.objective.collate(examples, generators)
