"""Few-shot samples of a training split: k examples for each label, the same for every source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from sslm_platform.corpus import target_field
from sslm_platform.data.feeds import Feed, FeedSplit
from sslm_platform.kinds import FieldKind
from sslm_platform.spec.resolved import Task
from sslm_platform.transfer.labels import OUTSIDE, label_kinds


def few_examples(
    kinds: Sequence[Collection[str]], keys_N: np.ndarray, k: int, seed: int, draw: int
) -> np.ndarray:
    """Draw examples until each kind has k, or all that there are.

    Examples come in a random order that depends on their keys, ``seed`` and ``draw`` alone, and one is taken
    if it has a kind that still lacks examples. Where each has one kind, each kind gets exactly k.

    Args:
        kinds: of each of the N examples.
        keys_N: the examples' identities.
        k: examples for each kind, 1 or more.
        seed: of the cell.
        draw: number of the draw, from 0.

    Returns:
        Places of the examples, ascending.
    """
    by_key = np.argsort(keys_N, kind="stable")
    counts: Counter[str] = Counter()
    taken = []
    for row in np.random.default_rng([seed, draw]).permutation(by_key):
        if any(counts[kind] < k for kind in kinds[row]):
            taken.append(row)
            counts.update(kinds[row])
    return np.sort(np.array(taken, dtype=np.int64))


def few_shot_feed(feed: Feed, task: Task, k: int, seed: int, draw: int) -> Feed:
    """Return a task's feed whose training split is a draw of k examples for each label.

    Of tags, each type of chunk has k sentences or more, and so have sentences without a chunk; of values and
    of self-supervised tasks there are k examples in all.
    """
    train = feed.splits["train"]
    rows = few_examples(example_kinds(task, train), train.keys_N, k, seed, draw)
    return replace(feed, splits={**feed.splits, "train": train.take(rows)})


def example_kinds(task: Task, split: FeedSplit) -> list[frozenset[str]]:
    """Return what a few-shot sample counts of each example: its label, or the types of its tags."""
    field = target_field(task)
    kind = task.needs[field].kind if field is not None else None
    if field is None or kind not in (FieldKind.LABEL, FieldKind.LABELS, FieldKind.TAGS):
        return [frozenset({""})] * len(split)
    values = split.values(task.identity, field)
    if kind is FieldKind.LABEL:
        return [frozenset({value}) for value in values]
    if kind is FieldKind.LABELS:
        return [frozenset(value) or frozenset({""}) for value in values]
    return [frozenset(label_kinds(tags, tags=True)) - {OUTSIDE} or frozenset({OUTSIDE}) for tags in values]
