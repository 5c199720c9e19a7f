"""What the scores of a catalogue stand beside: answers of simple methods that learn from the same examples.

``tfidf`` is a linear model of TF-IDF features (labels, sets of labels, values) or their cosine (rankings),
``crf`` a conditional random field on features of words (tags), ``overlap`` the sentence of the context that
shares most words with the question, ``copy`` the input itself and ``lead`` its first sentence (generated
texts). What there is to choose is chosen on dev.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack

from sslm_platform.baselines import SENTENCE_END, TEXT_FLOORS, TFIDF_C, WORD, _lacks_words, tfidf_ranking
from sslm_platform.corpus import Corpus, target_field
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.interfaces import Scored
from sslm_platform.kinds import FieldKind, OutputKind
from sslm_platform.scoring import goodness
from sslm_platform.spec.resolved import Task

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
RIDGE = (0.1, 1.0, 10.0)
CRF_L2 = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Data:
    """A task's splits, and the labels of its head."""

    task: Task
    splits: Mapping[str, FeedSplit]
    labels: tuple[str, ...]

    def values(self, split: str, field: str) -> list[Any]:
        return list(self.splits[split].values(self.task.identity, field))

    def texts(self, split: str) -> list[list[str]]:
        """Return each text field's texts; words are joined, spans left out."""
        names = [name for name, _ in self.task.input_columns]
        names = [name for name in names if self.task.needs[name].kind is not FieldKind.SPANS]
        joined = {name: self.task.needs[name].kind is FieldKind.TOKENS for name in names}
        return [[" ".join(v) if joined[n] else v for v in self.values(split, n)] for n in names]

    def gold(self, split: str) -> list[Any]:
        """Return the references that metrics read: ids of labels and tags, values, texts."""
        found, field = self.splits[split], target_field(self.task) or ""
        rows = found.encoded(self.task.identity, range(len(found)), self.labels)
        return [example.values[field] for example in rows]

    def scored(self, split: str, predictions: Sequence[Any], scores: Sequence[Any] | None = None) -> Scored:
        zeros_N = np.zeros(len(predictions))
        return Scored(list(predictions), self.gold(split), zeros_N, zeros_N, scores)

    def best(self, candidates: Iterator[Callable[[str], Scored]]) -> Callable[[str], Scored]:
        """Return the candidate whose answers for dev are best by the primary metric."""
        return max(candidates, key=lambda answer: goodness(self.task, answer("dev"), self.labels))


def floors(corpus: Corpus, task: Task) -> Iterator[tuple[str, Scored]]:
    """Yield the name and the test answers of each simple method that the task has, besides the majority."""
    data = Data(task, corpus.task_feed(task, corpus.run.spec.seed).splits, corpus.labels([task]))
    emits = task.head.definition.emits
    if emits in (OutputKind.RANKING, OutputKind.CHOICE_LOGITS):
        yield "tfidf", tfidf_ranking(task, data.splits["train"], data.splits["test"])
    field = target_field(task)
    kind = task.needs[field].kind if field else None  # without a field it makes its labels itself
    if kind in LINEAR:
        yield "tfidf", data.best(LINEAR[kind](data))("test")
    elif kind is FieldKind.TAGS and has_crf():
        yield "crf", data.best(crf(data))("test")
    elif kind is FieldKind.ANSWERS:
        yield "overlap", data.scored("test", overlap(data))
    elif kind is FieldKind.TARGET_TEXT and emits.is_generated:
        texts = data.values("test", "text")
        yield from ((name, data.scored("test", [f(t) for t in texts])) for name, f in TEXT_FLOORS.items())


def features(data: Data) -> Callable[[str], csr_matrix]:
    """Fit TF-IDF to the training texts; of two texts there is also what they share and how near they are."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    train = [text for column in data.texts("train") for text in column]
    unit: dict[str, Any] = {"ngram_range": (1, 2), "token_pattern": WORD.pattern}
    if _lacks_words(train):
        unit = {"analyzer": "char", "ngram_range": (1, 3)}
    vectorizer = TfidfVectorizer(sublinear_tf=True, **unit).fit(train)

    def of(split: str) -> csr_matrix:
        columns = [vectorizer.transform(texts) for texts in data.texts(split)]
        shared = [a.multiply(b) for a, b in pairwise(columns)]
        return csr_matrix(hstack([*columns, *shared, *(csr_matrix(part.sum(axis=1)) for part in shared)]))

    return of


def of_labels(data: Data) -> Iterator[Callable[[str], Scored]]:
    from sklearn.linear_model import LogisticRegression

    read, gold = features(data), data.gold("train")
    if len(set(gold)) == 1:
        yield lambda split: data.scored(split, [gold[0]] * len(data.splits[split]))
        return
    for c in TFIDF_C:
        model = LogisticRegression(C=c, max_iter=1000).fit(read("train"), gold)

        def answer(split: str, model: Any = model) -> Scored:
            probability_NK = np.zeros((len(data.splits[split]), len(data.labels)))
            probability_NK[:, model.classes_] = model.predict_proba(read(split))
            return data.scored(split, probability_NK.argmax(axis=1).tolist(), list(probability_NK))

        yield answer


def of_label_sets(data: Data) -> Iterator[Callable[[str], Scored]]:
    from sklearn.linear_model import LogisticRegression

    read, gold = features(data), data.gold("train")
    has_NK = np.array([np.isin(np.arange(len(data.labels)), ids) for ids in gold])
    for c in TFIDF_C:
        models = [
            LogisticRegression(C=c, max_iter=1000).fit(read("train"), has_N) if 0 < has_N.mean() < 1 else None
            for has_N in has_NK.T
        ]

        def probabilities(split: str, models: Any = models) -> np.ndarray:
            rows = read(split)
            columns = [
                np.full(rows.shape[0], base) if m is None else m.predict_proba(rows)[:, 1]
                for m, base in zip(models, has_NK.mean(axis=0), strict=True)
            ]
            return np.stack(columns, axis=1)

        found = {split: probabilities(split) for split in ("dev", "test")}
        for threshold in THRESHOLDS:
            yield lambda split, found=found, threshold=threshold: data.scored(
                split, [np.flatnonzero(row > threshold) for row in found[split]], list(found[split])
            )


def of_values(data: Data) -> Iterator[Callable[[str], Scored]]:
    from sklearn.linear_model import Ridge

    read = features(data)
    for alpha in RIDGE:
        model = Ridge(alpha=alpha).fit(read("train"), data.gold("train"))
        yield lambda split, model=model: data.scored(split, model.predict(read(split)).tolist())


LINEAR = {
    FieldKind.LABEL: of_labels,
    FieldKind.LABELS: of_label_sets,
    FieldKind.VALUE: of_values,
}


def has_crf() -> bool:
    try:
        import pycrfsuite  # noqa: F401
    except ImportError:
        print("no crf: pip install python-crfsuite", flush=True)
        return False
    return True


def crf(data: Data) -> Iterator[Callable[[str], Scored]]:
    import tempfile
    from pathlib import Path

    import pycrfsuite

    sentences = {split: [described(words) for words in data.values(split, "tokens")] for split in data.splits}
    names = {name: number for number, name in enumerate(data.labels)}
    for l2 in CRF_L2:
        trainer = pycrfsuite.Trainer(verbose=False)
        for words, ids in zip(sentences["train"], data.gold("train"), strict=True):
            trainer.append(words, [data.labels[tag] for tag in ids])
        trainer.set_params({"c1": 0.05, "c2": l2, "max_iterations": 100})
        tagger = pycrfsuite.Tagger()
        with tempfile.TemporaryDirectory() as folder:
            trainer.train(str(Path(folder) / "model"))
            model = (Path(folder) / "model").read_bytes()
        tagger.open_inmemory(model)

        # the tagger reads the model where it is: it must stay
        def answer(split: str, tagger: Any = tagger, model: bytes = model) -> Scored:
            tags = [tagger.tag(words) for words in sentences[split]]
            return data.scored(split, [np.array([names[t] for t in one], dtype=np.int64) for one in tags])

        yield answer


def described(words: Sequence[str]) -> list[list[str]]:
    """Return each word's features: itself, its ends, its shape, and its neighbours."""
    forms = [word.lower() for word in words]
    shapes = ["".join(map(kind_of, word[:8])) for word in words]
    found = []
    for i, form in enumerate(forms):
        own = [f"w={form}", f"shape={shapes[i]}", f"p3={form[:3]}", f"s3={form[-3:]}", f"s2={form[-2:]}"]
        near = [(offset, i + offset) for offset in (-2, -1, 1, 2)]
        own += [
            f"{kind}{offset}={of[at] if 0 <= at < len(words) else '-'}"
            for (offset, at), (kind, of) in product(near, (("w", forms), ("shape", shapes)))
        ]
        found.append(own)
    return found


def kind_of(character: str) -> str:
    if character.isalpha():
        return "X" if character.isupper() else "x"
    return "0" if character.isdigit() else character


def overlap(data: Data) -> list[np.ndarray]:
    """Return the span of each context's sentence that has most of the question's words."""
    return [
        nearest(question, context)
        for question, context in zip(
            data.values("test", "question"), data.values("test", "context"), strict=True
        )
    ]


def nearest(question: str, context: str) -> np.ndarray:
    asked = set(WORD.findall(question.lower()))
    ends = [0, *(match.end() for match in SENTENCE_END.finditer(context)), len(context)]
    spans = [(start, end) for start, end in pairwise(ends) if context[start:end].strip()]
    start, end = max(spans, key=lambda s: len(asked & set(WORD.findall(context[s[0] : s[1]].lower()))))
    return np.array([start, start + len(context[start:end].rstrip())])
