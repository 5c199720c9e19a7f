"""An answer told from others: those of the batch, and texts that are known to be none (hard negatives)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sslm_objectives.contrastive.infonce import cosines, info_nce, numbered, summed
from sslm_objectives.contrastive.options import SimcseOptions
from sslm_platform.api import Encoded, Targets, TaskBatch

NAMES = ("example", "position", "row", "start", "end", "ahead", "labels")


class MultipleNegatives:
    """-log exp(cos(x_i, y_i) / T) / sum_j exp(cos(x_i, y_j) / T) in nats (Henderson et al. 2017, equation 4).

    x is the text, y its answer, each read by itself with one encoder. The sum is over the answers and the
    hard negatives of the whole batch (of the rank, if there are several). Answers that are the same text, and
    those of the same question, are no negatives of each other. An example weighs 1.

    Rows of targets, for each example: the text, whose label is the answer's row; the answer; the negatives.
    """

    def __init__(self, options: SimcseOptions) -> None:
        self.temperature = options.temperature

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Find each text's tokens."""
        table: list[tuple[int, ...]] = []
        texts, calls = [], []
        for index, example in enumerate(examples):
            rows = _rows(example)
            calls.append(np.minimum(np.arange(len(rows)), 1))
            for position, (ids_T, start, end) in enumerate(rows):
                label = len(table) + 1 if position == 0 else -1
                table.append((index, position, len(table), start, end, 0, label))
                texts.append(ids_T)
        tensor = torch.tensor(table, dtype=torch.int64).reshape(-1, len(NAMES))
        targets = dict(zip(NAMES, tensor.unbind(dim=1), strict=True))
        targets["text"] = torch.tensor(numbered(texts), dtype=torch.int64)
        return TaskBatch(targets, torch.ones(len(examples)), calls=calls)

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from vectors (N, W)."""
        is_text_N = targets["labels"] >= 0
        texts_A, candidates_C = (torch.nonzero(mask).flatten() for mask in (is_text_N, ~is_text_N))
        vectors, text_N = outputs.float(), targets["text"]
        score_AC = cosines(vectors[texts_A], vectors[candidates_C]) / self.temperature
        answers_A = targets["labels"][texts_A]
        question_B = text_N.new_full((num_examples,), -1)
        question_B[targets["example"][texts_A]] = text_N[texts_A]
        is_answer_C = targets["position"][candidates_C] == 1
        asked_C = question_B[targets["example"][candidates_C]]
        same_AC = (text_N[texts_A][:, None] == asked_C) & is_answer_C
        same_AC |= text_N[answers_A][:, None] == text_N[candidates_C]
        loss_A = info_nce(score_AC, torch.searchsorted(candidates_C, answers_A), same_AC)
        return summed(loss_A, targets["example"][texts_A], num_examples)


def _rows(example: Encoded) -> list[tuple[np.ndarray, int, int]]:
    """Return the ids of each text of an example, and where they begin and end in its row."""
    assert example.window_S is not None, "texts that are read by themselves are windows"
    found = []
    for ids_L, special_L in zip(
        np.split(example.input_ids_L, example.window_S[1:]),
        np.split(example.special_L.astype(bool), example.window_S[1:]),
        strict=True,
    ):
        places = np.flatnonzero(~special_L)
        # of a text that has no tokens its special ones are all there is
        start, end = (int(places[0]), int(places[-1]) + 1) if len(places) else (0, len(ids_L))
        found.append((ids_L[start:end], start, end))
    return found


class ChoiceCrossEntropy:
    """-log p(right candidate) in nats, p a softmax over the example's own candidates; an example weighs 1.

    Each candidate is read with the text, as a pair (as BERT does SWAG; Devlin et al. 2019, section 4.4). Rows
    of targets, for each candidate: ``row`` of the states; ``labels``, 1 for the right one.
    """

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Make a row of each candidate."""
        table: list[tuple[int, int, int, int]] = []
        for index, example in enumerate(examples):
            assert example.window_S is not None, "candidates are windows"
            right = int(example.values["choice"])
            table += [(index, n, len(table) + n, int(n == right)) for n in range(len(example.window_S))]
        names = ("example", "position", "row", "labels")
        tensor = torch.tensor(table, dtype=torch.int64).reshape(-1, len(names))
        return TaskBatch(dict(zip(names, tensor.unbind(dim=1), strict=True)), torch.ones(len(examples)))

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (N,)."""
        longest = int(targets["position"].max()) + 1
        logit_BK = outputs.new_full((num_examples, longest), float("-inf"), dtype=torch.float32)
        logit_BK = logit_BK.index_put((targets["example"], targets["position"]), outputs.float())
        is_right_N = targets["labels"] == 1
        right_B = targets["position"].new_zeros(num_examples)
        right_B[targets["example"][is_right_N]] = targets["position"][is_right_N]
        return cross_entropy(logit_BK, right_B, reduction="none")
