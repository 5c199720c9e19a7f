"""Rankings of all of a split's candidates: what answers are looked for among, and who is right.

Candidates are the distinct answers of the split's examples, and the texts that these name as none; two texts
are one where they differ by case and spacing only. Right for a text is the answer of every example of the
split that has this text. Ties go by a hash of the candidates' texts: as good as random, and always the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sslm_platform.data.feeds import FeedSplit
from sslm_platform.data.splits import normalized
from sslm_platform.interfaces import Scored
from sslm_platform.spec.resolved import Task

LONGEST = 1000  # candidates that a ranking has; what comes later counts as not found
DIGITS = 9  # of a similarity: equal texts differ by rounding, and must tie
QUERIES_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Candidates:
    """A split's candidates by id.

    Attributes:
        ids: of each candidate, by its normalized text; in the order of a hash.
        texts: one spelling of each, by id.
        places: (example, number) of that spelling: 0 is the example's answer, then its negatives.
        right: the ids of each example's right ones, rising.
    """

    ids: dict[str, int]
    texts: list[str]
    places: list[tuple[int, int]]
    right: list[np.ndarray]


def candidates_of(task: Task, split: FeedSplit) -> Candidates:
    """Return what the texts of a split's examples are to find, and among what."""
    answers = split.values(task.identity, "answer")
    negatives = (
        split.values(task.identity, "negatives") if "negatives" in task.spec.fields else [[] for _ in answers]
    )
    found: dict[str, tuple[str, tuple[int, int]]] = {}
    for example, own in enumerate(zip(answers, negatives, strict=True)):
        for number, text in enumerate([own[0], *own[1]]):
            found.setdefault(normalized([text]), (text, (example, number)))
    names = sorted(found, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest())
    ids = {name: number for number, name in enumerate(names)}
    of_text: dict[str, set[int]] = {}
    texts = [normalized([text]) for text in split.values(task.identity, "text")]
    for text, answer in zip(texts, answers, strict=True):
        of_text.setdefault(text, set()).add(ids[normalized([answer])])
    right = [np.array(sorted(of_text[text]), dtype=np.int64) for text in texts]
    return Candidates(ids, [found[n][0] for n in names], [found[n][1] for n in names], right)


def rank_vectors(task: Task, split: FeedSplit, scored: Scored) -> Scored:
    """Rank a split's candidates for each of its texts by the cosine of their vectors, ``scored.scores``."""
    assert scored.scores is not None, "a ranking is made of vectors"
    candidates = candidates_of(task, split)
    vectors = [_unit(rows) for rows in scored.scores]
    wanted_CW = np.stack([vectors[example][1 + number] for example, number in candidates.places])
    order: list[np.ndarray] = []
    for start in range(0, len(vectors), QUERIES_AT_ONCE):
        texts_NW = np.stack([rows[0] for rows in vectors[start : start + QUERIES_AT_ONCE]])
        order += ordered(texts_NW @ wanted_CW.T)
    return replace(scored, predictions=order, references=candidates.right, scores=None)


def ordered(similarity_NC: np.ndarray) -> list[np.ndarray]:
    """Return each row's columns, the largest first, 1,000 at most; of equal ones the first."""
    order_NC = np.argsort(-np.round(similarity_NC, DIGITS), axis=1, kind="stable")
    return list(order_NC[:, :LONGEST])


def rank_by_frequency(task: Task, train: FeedSplit, split: FeedSplit, scored: Scored) -> Scored:
    """Rank a split's candidates by how often each is an answer in the training split, whatever the text."""
    candidates = candidates_of(task, split)
    counts = Counter(normalized([answer]) for answer in train.values(task.identity, "answer"))
    frequency_1C = np.array([[counts[name] for name in candidates.ids]], dtype=np.float64)
    order = ordered(frequency_1C) * len(split)
    return replace(scored, predictions=order, references=candidates.right, scores=None)


def _unit(rows: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    vectors = np.asarray(rows, dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)
