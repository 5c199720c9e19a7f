"""What objectives with several targets in an example share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sslm_platform.api import Encoded, Targets

UNKNOWN = -1  # id of a label that the training split does not have


def concatenate(arrays: Sequence[np.ndarray]) -> Tensor:
    """Join integer arrays, none included, into one int64 tensor."""
    return torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *arrays]).astype(np.int64, copy=False))


def example_index(sizes: Sequence[int]) -> Tensor:
    """Return the example of each row, (sum of sizes,), when example ``i`` has ``sizes[i]`` rows."""
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.int64))


def sum_by_example(value_N: Tensor, targets: Targets, num_examples: int) -> Tensor:
    """Return each example's sum of its rows' values, (B,)."""
    return value_N.new_zeros(num_examples).index_add(0, targets["example"], value_N)


def row_cross_entropy(logits_NC: Tensor, targets: Targets, num_examples: int) -> Tensor:
    """Return each example's sum of its rows' cross entropies in nats, (B,)."""
    loss_N = cross_entropy(logits_NC.float(), targets["labels"], reduction="none")
    return sum_by_example(loss_N, targets, num_examples)


def marker_targets(examples: Sequence[Encoded]) -> dict[str, Tensor]:
    """Return ``markers``, (B, 2): positions of the markers before two spans, where the examples have them.

    A marker that truncation cut off is read at the first token, which stands for the whole.
    """
    rows = [example.marker_S for example in examples if example.marker_S is not None]
    return {"markers": torch.from_numpy(np.stack(rows)).clamp(min=0)} if rows else {}


def windows(example: Encoded) -> np.ndarray:
    """Return where an example's windows begin: most have one."""
    return np.zeros(1, dtype=np.int64) if example.window_S is None else example.window_S


def word_targets(examples: Sequence[Encoded]) -> dict[str, Tensor]:
    """Make a row of each word that has tokens, at its first one, with its tag and its tokens' end.

    ``row`` is that of the encoder's states, which has one for each window of an example; ``position`` and
    ``end`` count from where the window begins.
    """
    columns: dict[str, list[np.ndarray]] = {n: [] for n in ("labels", "row", "position", "end", "word")}
    num_rows, num_words = 0, []
    for example in examples:
        start_W = example.word_start_W
        assert start_W is not None, "an objective that needs tokens gets word starts"
        window_S, word = windows(example), np.flatnonzero(start_W >= 0)
        number = np.searchsorted(window_S, start_W[word], side="right") - 1
        columns["labels"].append(np.asarray(example.values["tags"])[word])
        columns["row"].append(num_rows + number)
        columns["position"].append(start_W[word] - window_S[number])
        columns["end"].append(_word_ends(example, start_W)[word] - window_S[number])
        columns["word"].append(word)
        num_rows += len(window_S)
        num_words.append(len(start_W))
    return {
        **{name: concatenate(found) for name, found in columns.items()},
        "example": example_index([len(word) for word in columns["word"]]),
        "num_words": torch.tensor(num_words, dtype=torch.int64),
    }


def _word_ends(example: Encoded, start_W: np.ndarray) -> np.ndarray:
    return start_W + 1 if example.word_end_W is None else example.word_end_W
