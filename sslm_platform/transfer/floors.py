"""The baselines without an encoder, as cells: the constant predictor, and TF-IDF."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sslm_platform.baselines import majority, tfidf, tfidf_ranking
from sslm_platform.corpus import Corpus, target_field
from sslm_platform.data.feeds import Feed, FeedSplit
from sslm_platform.errors import RunError
from sslm_platform.evaluate import TaskModel
from sslm_platform.interfaces import Scored
from sslm_platform.kinds import FieldKind, OutputKind
from sslm_platform.scoring import goodness
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.resolved import Task
from sslm_platform.transfer.few_shot import few_shot_feed
from sslm_platform.transfer.labels import match_labels
from sslm_platform.transfer.plan import CellPlan
from sslm_platform.transfer.sources import head_for


@dataclass(frozen=True, slots=True)
class Measured:
    """What measuring a cell gives."""

    scored: Scored
    labels: tuple[str, ...]
    num_train: int
    num_tokens: int
    notes: Mapping[str, str | float]


def cell_feed(corpus: Corpus, cell: CellPlan, task: Task | None = None) -> Feed:
    """Return the feed of the cell's target (or another task), with what the cell may learn from."""
    feed = corpus.task_feed(task or cell.target, cell.key.seed)
    if cell.key.shots is None:
        return feed
    return few_shot_feed(feed, cell.target, cell.key.shots, cell.key.seed, cell.key.draw)


def measure_majority(corpus: Corpus, cell: CellPlan, model: TaskModel) -> Measured:
    """Score the constant predictor of the target."""
    splits = corpus.task_feed(cell.target, cell.key.seed).splits
    scored = majority(model, splits["train"], splits["test"], corpus.vocabulary.pad_id)
    return Measured(scored, model.labels, len(splits["train"]), 0, {})


def measure_text(corpus: Corpus, cell: CellPlan, answer: Callable[[str], str]) -> Measured:
    """Score texts that are made of the input's first field alone, without any training."""
    target, name = cell.target, cell.target.identity
    test = corpus.task_feed(target, cell.key.seed).splits["test"]
    predictions = [answer(text) for text in test.values(name, "text")]
    zeros_N = np.zeros(len(test))
    scored = Scored(predictions, test.values(name, target_field(target) or ""), zeros_N, zeros_N)
    return Measured(scored, (), 0, 0, {})


def measure_tfidf(corpus: Corpus, cell: CellPlan) -> Measured:
    """Score TF-IDF, trained on the source's tasks that a head could have learned the target's labels from."""
    assert cell.source is not None
    if cell.target.head.definition.emits in (OutputKind.RANKING, OutputKind.CHOICE_LOGITS):
        return _measure_cosine(corpus, cell)
    target, labels = cell.target, corpus.labels([cell.target])
    key = head_for(cell.source, target, mapped=bool(cell.label_map))
    teachers = [t for t in cell.source.tasks if t.spec.name == target.spec.name or t.head_key == key]
    train, dev = (_labelled(corpus, cell, teachers, part, labels) for part in ("train", "dev"))
    if not train[0]:
        raise RunError(f"undefined: {cell.source.name} has none of {target.identity}'s labels")
    test = corpus.task_feed(target, cell.key.seed).splits["test"]

    def on_dev(answers: np.ndarray) -> float:
        if cell.key.shots is not None:
            return 0.0  # few shots have no dev split to choose by: the first C is taken
        return goodness(target, _answered(answers, [labels.index(n) for n in dev[1]]), labels)

    answers, chosen = tfidf(train, _texts(target, test), labels, dev[0], on_dev)
    gold = test.encoded(target.identity, range(len(test)), labels)
    references = [example.values[target_field(target) or ""] for example in gold]
    return Measured(_answered(answers, references), labels, len(train[0]), 0, {"inverse_l2": chosen})


def _measure_cosine(corpus: Corpus, cell: CellPlan) -> Measured:
    """Rank candidates by TF-IDF, which the target's own training texts weigh, whatever the source."""
    train = cell_feed(corpus, cell).splits["train"]
    test = corpus.task_feed(cell.target, cell.key.seed).splits["test"]
    return Measured(tfidf_ranking(cell.target, train, test), (), len(train), 0, {})


def _labelled(
    corpus: Corpus, cell: CellPlan, tasks: Sequence[Task], part: SplitName, labels: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Return texts of a split of some tasks, and the target's labels that theirs stand for."""
    pairs = []
    for task in tasks:
        split = cell_feed(corpus, cell, task).splits[part]
        names = split.values(task.identity, target_field(task) or "")
        known = corpus.labels([task])
        mapping = match_labels(known, labels, cell.label_map, tags=False)
        meaning = {name: labels[t] for name, t in zip(known, mapping, strict=True) if t >= 0}
        texts = _texts(task, split)
        pairs += [(text, meaning[n]) for text, n in zip(texts, names, strict=True) if n in meaning]
    return [text for text, _ in pairs], [name for _, name in pairs]


def _answered(probability_NK: np.ndarray, references: Sequence[int]) -> Scored:
    """Return answers without losses."""
    zeros = np.zeros(len(probability_NK))
    return Scored(probability_NK.argmax(axis=1).tolist(), references, zeros, zeros, list(probability_NK))


def _texts(task: Task, split: FeedSplit) -> list[str]:
    kinds = {name: task.needs[name].kind for name, _ in task.input_columns}
    columns = [split.values(task.identity, n) for n, kind in kinds.items() if kind is not FieldKind.SPANS]
    return ["\n".join(map(_joined, values)) for values in zip(*columns, strict=True)]


def _joined(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)
