"""Extractive answers: where in the context an answer begins and ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from sslm_objectives.rows import concatenate, windows
from sslm_platform.api import Encoded, Targets, TaskBatch

START, END = 1, 2  # bits of a row's label


class SpanCrossEntropy:
    """-log p(start) - log p(end) in nats; every example with an answer to be found weighs 1.

    Probabilities are over all windows of a context at once, so that an example is one example however long
    it is, and windows can be compared. Every place where an answer begins (in another window, or another
    answer) is right: -log of the sum of their probabilities. This is the shared normalization with the
    sum objective of Clark & Gardner 2018, "Simple and Effective Multi-Paragraph Reading Comprehension". "No
    answer" begins and ends at each window's first token (Devlin et al. 2019, section 4.3).

    Targets have a row for each token of the context and each window's first: ``row`` and ``position``, where
    its state is; ``start`` and ``end``, its characters, -1 for "no answer"; ``labels``, 1 where an answer
    begins, + 2 where one ends.
    """

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Make rows of the tokens that can begin or end an answer."""
        tables, first = [], 0
        for index, example in enumerate(examples):
            tables += [np.insert(rows, 0, index, axis=1) for rows in _rows(example, first)]
            first += len(windows(example))
        table = np.concatenate([np.zeros((0, 6), np.int64), *tables])
        names = ("example", "row", "position", "start", "end", "labels")
        targets = {name: concatenate([column]) for name, column in zip(names, table.T, strict=True)}
        found_B = [_has_both(table[table[:, 0] == index, 5]) for index in range(len(examples))]
        return TaskBatch(targets, torch.tensor(found_B, dtype=torch.float32))

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (N, 2)."""
        loss_B = outputs.new_zeros(num_examples, dtype=torch.float32)
        for column, bit in enumerate((START, END)):
            logit_N, example_N = outputs[:, column].float(), targets["example"]
            gold_N = (targets["labels"] & bit) > 0
            all_B = _log_sum(logit_N, example_N, num_examples)
            # not a selection of rows, whose number a GPU would have to tell first
            gold_B = _log_sum(logit_N.masked_fill(~gold_N, float("-inf")), example_N, num_examples)
            found_B = torch.isfinite(gold_B)
            loss_B = loss_B + torch.where(found_B, all_B - torch.where(found_B, gold_B, 0.0), 0.0)
        return loss_B


def _rows(example: Encoded, first: int) -> Iterator[np.ndarray]:
    """Yield (tokens, 5) for each window: row of the batch, position, characters, label."""
    assert example.offset_L2 is not None, "an objective that needs a context gets offsets"
    window_S = windows(example)
    answers = example.values["answers"]["answers"]
    bounds = [(one["start"], one["start"] + len(one["text"])) for one in answers]
    for number, offset_W2 in enumerate(np.split(example.offset_L2, window_S[1:])):
        position = np.flatnonzero((offset_W2[:, 0] >= 0) | (np.arange(len(offset_W2)) == 0))
        rows = np.zeros((len(position), 5), dtype=np.int64)
        rows[:, 0], rows[:, 1], rows[:, 2:4] = first + number, position, offset_W2[position]
        for start, end in bounds:
            inside = np.flatnonzero((rows[:, 2] < end) & (rows[:, 3] > start) & (rows[:, 2] >= 0))
            if len(inside) and rows[inside[0], 2] <= start and rows[inside[-1], 3] >= end:
                rows[inside[0], 4] |= START
                rows[inside[-1], 4] |= END
        if not bounds:
            rows[0, 4] = START | END
        yield rows


def _has_both(labels: np.ndarray) -> bool:
    return bool((labels & START).any() and (labels & END).any())


def _log_sum(value_N: Tensor, example_N: Tensor, num_examples: int) -> Tensor:
    """Return log sum exp of each example's rows, (B,); -inf where it has none."""
    top_B = value_N.new_full((num_examples,), float("-inf"))
    top_B = top_B.scatter_reduce(0, example_N, value_N.detach(), "amax")
    shift_B = torch.where(torch.isfinite(top_B), top_B, 0.0)
    total_B = value_N.new_zeros(num_examples).index_add(0, example_N, torch.exp(value_N - shift_B[example_N]))
    has_B = total_B > 0
    return torch.where(has_B, torch.log(torch.where(has_B, total_B, 1.0)) + shift_B, float("-inf"))
