"""What is wrong with a stream's data, found before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sslm_platform.data.feeds import Feed
from sslm_platform.data.fields import TaskRows
from sslm_platform.data.load import StreamRows
from sslm_platform.data.splits import SPLITS
from sslm_platform.errors import Problem
from sslm_platform.kinds import Field, FieldKind
from sslm_platform.spec.data import SplitBy

_SHOWN = 5
_READ = 200  # texts of a task that are looked at

TaskToCheck = tuple[Mapping[str, Field], TaskRows, str]


@dataclass(frozen=True, slots=True)
class Findings:
    """Problems stop a run; warnings are for the reader of its report."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def check_stream(rows: StreamRows, tasks: Mapping[str, TaskToCheck], split_by: SplitBy = "given") -> Findings:
    """Check the values that :func:`~sslm_platform.data.fields.read_task` has read.

    Problems: a split without examples, a text column of numbers, one label only, labels in dev or test that
    train lacks. Warnings: tags, and labels of sets, that train lacks (a model is wrong on them, which is for
    the score to say), tags that break their scheme, duplicates across train and test, empty texts.

    Args:
        rows: the stream.
        tasks: identity to (fields that the objective reads, values, key path for messages).
        split_by: how the stream is split, which decides what helps.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for needs, task, where in tasks.values():
        problems += [*_empty_splits(rows, task, where, split_by), *_numeric_texts(task, needs, where)]
        for name, field in needs.items():
            if name not in task.kinds or not task.splits["train"]:
                continue
            if field.kind is FieldKind.LABEL:
                problems += _labels(task, name, f"{where}.fields.{name}")
            elif field.kind in (FieldKind.LABELS, FieldKind.TAGS):
                warnings += _unseen(task, name, f"{where}.fields.{name}")
                warnings += _malformed(task, name, f"{where}.fields.{name}")
        warnings += [*_empty_texts(task, where), *_duplicates(task, where)]
    return Findings(tuple(problems), tuple(warnings))


def unspaced(tasks: Mapping[str, TaskToCheck]) -> Iterator[Problem]:
    """Yield a warning for each task whose texts are mostly without spaces: augmenters cut words there."""
    for needs, task, where in tasks.values():
        train = task.splits["train"]
        fields = [name for name, _ in task.inputs if needs[name].kind is FieldKind.TEXT]
        texts = [text for name in fields for text in train.values(name, train.rows[:_READ])]
        if sum(len(text.split()) < 2 for text in texts) > len(texts) / 2:
            what = "most texts have no spaces: augmenters see each as one word, and few change it"
            yield Problem(where, what)


def unknown_rate(feed: Feed, tokenizer: Any) -> float:
    """Return the share of a feed's tokens, special ones apart, that are the tokenizer's unknown token."""
    if tokenizer.unk_token_id is None:
        return 0.0
    counts = [split.count_tokens(tokenizer.unk_token_id) for split in feed.splits.values()]
    return sum(found for found, _ in counts) / max(1, sum(total for _, total in counts))


def _empty_splits(rows: StreamRows, task: TaskRows, where: str, split_by: str) -> list[Problem]:
    problems = []
    for split in SPLITS:
        if len(task.splits[split]):
            continue
        if len(rows.splits[split]) == 0:
            hint = "; set split.dev_from_train" if split == "dev" else ""
            if split_by == "hash":
                number = sum(len(part) for part in rows.splits.values())
                hint = f": none of {number} rows fell into it; give more, or a larger split.{split}"
            what = f"the {split} split is empty{hint}"
        else:
            fields = ", ".join(task.kinds)
            what = f"none of the {len(rows.splits[split])} rows of {split} has all of {fields}"
        problems.append(Problem(where, what))
    return problems


def _numeric_texts(task: TaskRows, needs: Mapping[str, Field], where: str) -> list[Problem]:
    problems = []
    train = task.splits["train"]
    for name, column in task.inputs:
        count, first = train.facts.numbers.get(name, (0, ""))
        if needs[name].kind is FieldKind.TEXT and count > len(train) / 2:
            what = (
                f"column {column!r} holds numbers: {count} of {len(train)} texts of train, such as"
                f" {first!r}; is another column meant?"
            )
            problems.append(Problem(f"{where}.fields.{name}", what))
    return problems


def _labels(task: TaskRows, name: str, where: str) -> list[Problem]:
    train = task.splits["train"].facts.counts[name]
    problems = _unseen(task, name, where)
    if len(train) == 1:
        problems.append(Problem(where, f"train has one label only: {next(iter(train))!r}; nothing to learn"))
    return problems


def _unseen(task: TaskRows, name: str, where: str) -> list[Problem]:
    named = {split: task.splits[split].facts.counts[name] for split in SPLITS}
    counts = {split: _types(c) if task.kinds[name] is FieldKind.TAGS else c for split, c in named.items()}
    problems = []
    for split in SPLITS[1:]:
        unseen = Counter({n: count for n, count in counts[split].items() if n not in counts["train"]})
        if unseen:
            shown = ", ".join(f"{label!r} ({count})" for label, count in unseen.most_common(_SHOWN))
            more = f" and {len(unseen) - _SHOWN} more" if len(unseen) > _SHOWN else ""
            problems.append(Problem(where, f"{split} has labels that train lacks: {shown}{more}"))
    return problems


def _malformed(task: TaskRows, name: str, where: str) -> list[Problem]:
    """Tags that break their scheme are read as seqeval's default mode does; that may not be what is meant."""
    found = []
    for split in SPLITS:
        count, first = task.splits[split].facts.malformed.get(name, (0, ""))
        if count:
            what = f"{count} rows of {split} have tags that are no chunks of their scheme; the first, {first}"
            found.append(Problem(where, f"{what}. Is scheme what it should be (bio, iob1, iobes)?"))
    return found


def _types(tags: Mapping[str, int]) -> Counter[str]:
    """Count tags by type: a label set with ``B-`` of a type has ``I-`` of it too."""
    types: Counter[str] = Counter()
    for tag, count in tags.items():
        if len(tag) > 1:
            types[tag[2:]] += count
    return types


def _empty_texts(task: TaskRows, where: str) -> list[Problem]:
    num_empty = sum(split.facts.num_empty for split in task.splits.values())
    return [Problem(where, f"{num_empty} rows are left out: their text is empty")] if num_empty else []


def _duplicates(task: TaskRows, where: str) -> list[Problem]:
    train, test = task.splits["train"], task.splits["test"]
    known_N, hashes_N = np.sort(train.content_hashes()), test.content_hashes()
    if not len(known_N):
        return []
    # by bisection: np.isin takes several times the memory
    places_N = np.searchsorted(known_N, hashes_N).clip(max=len(known_N) - 1)
    count = int(np.count_nonzero(known_N[places_N] == hashes_N))
    if not count:
        return []
    what = f"{count} of {len(test)} test examples are in train too (without regard to case)"
    return [Problem(where, what)]
