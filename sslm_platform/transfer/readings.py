"""Which examples a cell has encoded by a frozen encoder, and how many tokens some cells need together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sslm_platform.corpus import Corpus
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.resolved import Task
from sslm_platform.transfer.answers import answer_for
from sslm_platform.transfer.floors import cell_feed
from sslm_platform.transfer.plan import CellPlan
from sslm_platform.transfer.units import WITHOUT_ENCODER, is_finetuned

Fitted = Callable[[Sequence[Task], int], bool]
"""Whether the head that some tasks share is fitted already, to the training examples of a seed."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Examples of one split, as one task reads them."""

    task: Task
    split: SplitName
    part: FeedSplit

    @property
    def input(self) -> tuple[Any, ...]:
        """What else must be equal for two readings of a row to be one encoding (see ``FeatureStore``)."""
        return (*self.task.encoding, self.split)


def readings_of(corpus: Corpus, cell: CellPlan, fitted: Fitted) -> Iterator[Reading]:
    """Yield what measuring a cell reads of its unit's encoder; fine-tuning reads a copy.

    ``fitted`` says which heads are there already: what they were fitted to is not read again.
    """
    if cell.key.source_stage in WITHOUT_ENCODER:
        return
    yield _reading(corpus, cell, cell.target, "test")
    tasks = learners(corpus, cell)
    if cell.key.shots is not None and tasks:
        yield Reading(cell.target, "train", cell_feed(corpus, cell).splits["train"])
    elif tasks and not fitted(tasks, cell.key.seed):
        for task in tasks:
            yield _reading(corpus, cell, task, "train")
            yield _reading(corpus, cell, task, "dev")


def learners(corpus: Corpus, cell: CellPlan) -> tuple[Task, ...]:
    """Return the tasks that a cell's probe is fitted to; none where the cell has no probe."""
    is_trained = cell.key.target_stage == "zero_shot" and cell.training is not None
    if cell.key.source_stage in WITHOUT_ENCODER or is_finetuned(cell) or is_trained:
        return ()
    if cell.key.source_stage != "head":
        return (cell.target,)
    assert cell.source is not None
    answer = answer_for(corpus, cell.source, cell.target, cell.label_map)
    assert answer is not None
    return tuple(task for task in cell.source.tasks if task.head_key == answer.head_key)


def num_fits(corpus: Corpus, cells: Iterable[CellPlan], fitted: Fitted) -> int:
    """Return how many probes some cells of one encoder fit: a source's head once for all of its targets."""
    fits: set[tuple[str, ...]] = set()
    for cell in cells:
        tasks, seed = learners(corpus, cell), cell.key.seed
        if cell.key.shots is not None and tasks:
            fits.add((cell.id,))
        elif tasks and not fitted(tasks, seed):
            fits.add((*(task.identity for task in tasks), str(seed)))
    return len(fits)


def tokens_to_encode(corpus: Corpus, cells: Iterable[CellPlan], fitted: Fitted) -> int:
    """Return the tokens of all examples that some cells of one encoder read, each example once.

    A head without a probe, and the end of a fine-tuning, encode for themselves.
    """
    rows: dict[tuple[Any, ...], dict[int, int]] = {}
    apart = 0
    for cell in cells:
        for reading in readings_of(corpus, cell, fitted):
            if is_finetuned(cell) or reading.task.head.definition.no_probe:
                apart += int(reading.part.lengths_N.sum())
                continue
            found = rows.setdefault(reading.input, {})
            found.update(zip(reading.part.rows_N.tolist(), reading.part.lengths_N.tolist(), strict=True))
    return apart + sum(sum(found.values()) for found in rows.values())


def _reading(corpus: Corpus, cell: CellPlan, task: Task, split: SplitName) -> Reading:
    return Reading(task, split, corpus.task_feed(task, cell.key.seed).splits[split])
