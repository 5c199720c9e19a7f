"""What any model must beat: the constant predictor, and TF-IDF with logistic regression."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sslm_platform.corpus import target_field
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.decisions import decides, tune_head
from sslm_platform.evaluate import (
    EVALUATION_SEED,
    Batch,
    GoesOn,
    TaskModel,
    evaluation_batches,
    make_batch,
    references,
    score_feed,
)
from sslm_platform.interfaces import Scored
from sslm_platform.kinds import FieldKind, OutputKind
from sslm_platform.ranking import candidates_of, ordered, rank_by_frequency
from sslm_platform.spec.resolved import Task

TFIDF_C = (1.0, 10.0, 100.0)  # inverse L2 strengths to choose from

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
WORD = re.compile(r"\w+")
# Thai, Lao, Burmese, Khmer; kana and Chinese characters
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def majority(model: TaskModel, train: FeedSplit, split: FeedSplit, pad_id: int) -> Scored:
    """Score constant outputs: the training split's log frequencies of labels, or its mean value.

    Its prediction is the most frequent label (tag, token, text), or each label that most examples have; its
    loss is the entropy that a model which ignores the input can reach. Frequencies are add-one smoothed.
    Where a threshold decides, it is the best one on the training split: of answers, the first token or none.
    Vectors are all equal: no text is told from another. Candidates are ranked by how often they are the
    answer in training, those of a choice by how often their place is the right one's.
    """
    name = model.task.identity
    train, split = train.of(name), split.of(name)
    definition = model.task.head.definition
    if definition.rewrites or decides(model.head.module):
        # A generator makes the labels, undisturbed by dropout; a threshold of the head's own is for other
        # outputs. Constant outputs are on the CPU, wherever the head is.
        own = copy.deepcopy(model.head.module).cpu().eval()
        model = replace(model, head=replace(model.head, module=own))
    models = {name: model}
    batches = (
        make_batch(train, rows, models, pad_id, EVALUATION_SEED, 0)
        for rows in evaluation_batches(train.lengths_N)
    )
    if model.task.head.definition.emits is OutputKind.CHOICE_LOGITS:
        constant = _places(model.task, train, split)
    else:
        constant = _constant(model, (batch.tasks[name].targets["labels"] for batch in batches))

    def outputs(batch: Batch) -> dict[str, Tensor]:
        targets = batch.tasks[name].targets
        if model.task.head.definition.emits is OutputKind.CHOICE_LOGITS:
            return {name: constant[targets["position"]]}
        rows = len(targets["labels"])
        return {name: constant.expand(rows, *constant.shape)}

    def texts(batch: Batch, goes_on: GoesOn) -> dict[str, list[str]]:
        return {name: [commonest] * len(batch.rows)} if model.writes else {}

    commonest = _commonest_text(model, train) if model.writes else ""
    if decides(model.head.module):
        tune_head(model.head.module, [score_feed(outputs, train, models, pad_id)[name]])
    scored = score_feed(outputs, split, models, pad_id, texts=texts)[name]
    is_ranking = model.task.head.definition.emits is OutputKind.RANKING
    return rank_by_frequency(model.task, train, split, scored) if is_ranking else scored


def _places(task: Task, *splits: FeedSplit) -> Tensor:
    """Return the log frequency of each place of the right candidate in the first split, smoothed."""
    longest = max(len(own) for split in splits for own in split.values(task.identity, "candidates"))
    places = splits[0].values(task.identity, target_field(task) or "")
    counts = torch.bincount(torch.tensor(places), minlength=longest)
    return torch.log((counts + 1) / (counts.sum() + longest))


def _commonest_text(model: TaskModel, train: FeedSplit) -> str:
    """Return the training target that occurs most often, of equal ones the first in the alphabet."""
    counts = Counter(_targets(model, train))
    return min(counts, key=lambda text: (-counts[text], text))


def _targets(model: TaskModel, train: FeedSplit) -> Iterable[str]:
    field, name = target_field(model.task), model.task.identity
    if field is not None:
        yield from train.values(name, field)
        return
    for rows in evaluation_batches(train.lengths_N):
        batch = make_batch(train, rows, {name: model}, 0, EVALUATION_SEED, 0)
        yield from references(model, batch.tasks[name], batch.examples[name])


def _constant(model: TaskModel, labels: Iterable[Tensor]) -> Tensor:
    if model.task.head.definition.emits is OutputKind.SEQUENCE_VALUES:
        return torch.cat([values.double() for values in labels]).mean().float()
    if model.task.head.definition.emits is OutputKind.SPAN_LOGITS:
        return torch.zeros(2)
    if model.task.head.definition.emits in (OutputKind.VECTORS, OutputKind.RANKING):
        return torch.ones(1)
    if model.task.head.definition.emits is OutputKind.LABEL_SET_LOGITS:
        sets = torch.cat(list(labels)).long()
        return torch.log((sets.sum(dim=0) + 1) / ((1 - sets).sum(dim=0) + 1))
    counts = torch.zeros(model.width, dtype=torch.int64)
    for ids in labels:
        counts += torch.bincount(ids, minlength=model.width)
    share_K = torch.log((counts + 1) / (counts.sum() + model.width))
    is_pair = model.task.head.definition.emits is OutputKind.TAG_PAIR_LOGITS
    return share_K.expand(model.width, model.width) if is_pair else share_K  # after whatever tag


def copied(text: str) -> str:
    """Return the text: what a translation must differ from, and what a summary must be shorter than."""
    return text


def lead(text: str) -> str:
    """Return the first sentence, which of news and reports is a hard summary to beat (lead-1)."""
    return SENTENCE_END.split(text.strip(), maxsplit=1)[0]


TEXT_FLOORS: Mapping[Literal["copy", "lead"], Callable[[str], str]] = {"copy": copied, "lead": lead}
"""Answers for tasks that generate, by the name of their baseline."""


def tfidf(
    train: tuple[Sequence[str], Sequence[str]],
    texts: Sequence[str],
    labels: tuple[str, ...],
    dev: Sequence[str],
    goodness: Callable[[np.ndarray], float],
) -> tuple[np.ndarray, float]:
    """Fit TF-IDF + logistic regression on (texts, labels); return each label's probability and the chosen C.

    C is the one of ``TFIDF_C`` whose predictions for ``dev`` have the largest ``goodness``: a baseline that
    is not tuned flatters what is compared with it. Features are words and word pairs; one to three
    characters where most of the writing has no spaces between words, as in Chinese, or no words at all.
    """
    if len(set(train[1])) == 1:
        return np.eye(len(labels))[[labels.index(train[1][0])] * len(texts)], TFIDF_C[0]
    vectorizer, models = _fit_tfidf(tuple(train[0]), tuple(train[1]))

    def predict(model: Any, of: Sequence[str]) -> np.ndarray:
        probability_NK = np.zeros((len(of), len(labels)))
        known = [labels.index(str(label)) for label in model.classes_]
        if len(of):
            probability_NK[:, known] = model.predict_proba(vectorizer.transform(of))
        return probability_NK

    best = max(TFIDF_C, key=lambda c: goodness(predict(models[c], dev)))
    return predict(models[best], texts), best


@lru_cache(maxsize=4)
def _fit_tfidf(texts: tuple[str, ...], labels: tuple[str, ...]) -> tuple[Any, dict[float, Any]]:
    """Return the vectorizer and a model for each C; kept, as a source is asked about every target in turn."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(sublinear_tf=True, **_units(texts))
    features = vectorizer.fit_transform(texts)
    return vectorizer, {c: LogisticRegression(C=c, max_iter=1000).fit(features, labels) for c in TFIDF_C}


def tfidf_ranking(task: Task, train: FeedSplit, split: FeedSplit) -> Scored:
    """Rank candidates (a split's, or a choice's own) by the cosine of their TF-IDF with the text's.

    Words are weighed by all input texts of the training split.
    """
    name = task.identity
    known = [
        text
        for field, _ in task.input_columns
        for value in train.values(name, field)
        for text in (value if task.needs[field].kind is FieldKind.TEXTS else [value])
    ]
    texts, zeros_N = split.values(name, "text"), np.zeros(len(split))
    if task.head.definition.emits is OutputKind.RANKING:
        candidates = candidates_of(task, split)
        order = ordered(_cosines(known, texts, candidates.texts))
        return Scored(order, candidates.right, zeros_N, zeros_N)
    own = split.values(name, "candidates")
    repeated = [text for text, texts in zip(texts, own, strict=True) for _ in texts]
    similar = _cosines(known, repeated, [text for texts in own for text in texts], paired=True)
    parts = np.split(similar, np.cumsum([len(texts) for texts in own])[:-1])
    places = split.values(name, target_field(task) or "")
    order = [ordered(part[None])[0] for part in parts]
    return Scored(order, [np.array([place]) for place in places], zeros_N, zeros_N)


def _cosines(
    known: Sequence[str], texts: Sequence[str], candidates: Sequence[str], *, paired: bool = False
) -> np.ndarray:
    """Return the cosine of each text's TF-IDF with each candidate's, (N, C), or with its own, (N,)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, **_units(known)).fit(known)
    first, second = vectorizer.transform(texts), vectorizer.transform(candidates)
    if paired:
        return np.asarray(first.multiply(second).sum(axis=1)).ravel()
    return (first @ second.T).toarray()


def _units(texts: Sequence[str]) -> dict[str, Any]:
    if _lacks_words(texts):
        return {"analyzer": "char", "ngram_range": (1, 3)}
    return {"ngram_range": (1, 2), "token_pattern": WORD.pattern}


def _lacks_words(texts: Sequence[str]) -> bool:
    num_unspaced = sum(len(UNSPACED.findall(text)) for text in texts)
    num_letters = sum(len(word) for text in texts for word in WORD.findall(text))
    return num_unspaced >= num_letters / 2
