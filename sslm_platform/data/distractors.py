"""Wrong answers for rows that have a right one: multiple choice, and hard negatives, made of other rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from sslm_platform.data.splits import normalized
from sslm_platform.errors import DataError, Problem, suggest
from sslm_platform.spec.data import DistractorSpec

DRAWN = 2  # version of what is drawn
ROWS_AT_ONCE = 100  # whose similarities to all texts are in memory
_TYPES = {
    "candidates": pa.list_(pa.string()),
    "choice": pa.int64(),
    "distractors": pa.list_(pa.string()),
}


def with_distractors(
    rows: datasets.Dataset, spec: DistractorSpec, fingerprint: str, *, where: str
) -> datasets.Dataset:
    """Return a split with the columns that the spec's section names.

    A row without a text in one of the two columns has none. Texts that differ by case and spacing only are
    one.

    Args:
        rows: the split.
        spec: the spec's section.
        fingerprint: of the result.
        where: key path of the section, for messages.

    Raises:
        DataError: no such column, or fewer other texts than are wanted.
    """
    for name in ("of", "to"):
        column = getattr(spec, name)
        if column not in rows.column_names:
            what = f"no column {column!r}{suggest(column, rows.column_names)}"
            raise DataError(Problem(f"{where}.{name}", what))
    if taken := set(_TYPES) & set(rows.column_names):
        raise DataError(Problem(where, f"the data have a column {min(taken)!r} of their own"))
    pairs = [_pair(to, of) for to, of in zip(rows[spec.to], rows[spec.of], strict=True)]
    own = [normalized([pair[1]]) if pair else "" for pair in pairs]
    pool: dict[str, str] = {}
    for name, pair in zip(own, pairs, strict=True):
        if pair:
            pool.setdefault(name, pair[1])
    names = sorted(pool)
    right: dict[str, set[str]] = {}
    for name, pair in zip(own, pairs, strict=True):
        if pair:
            right.setdefault(normalized([pair[0]]), set()).add(name)
    if len(rows) and len(names) <= spec.number:
        what = f"{len(names)} different texts in {spec.of}: not {spec.number} others for each"
        raise DataError(Problem(f"{where}.number", what))
    orders = _orders(pairs, own, [pool[n] for n in names], spec)
    made = [
        _choice(pair, name, order, names, right, pool, spec.number)
        for pair, name, order in zip(pairs, own, orders, strict=True)
    ]
    columns = {n: pa.array([row[n] if row else None for row in made], kind) for n, kind in _TYPES.items()}
    table = rows.with_format("arrow")[:]
    for name, values in columns.items():
        table = table.append_column(name, values)
    return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint=fingerprint[:32])


def _pair(to: Any, of: Any) -> tuple[str, str] | None:
    is_text = all(isinstance(text, str) and text.strip() for text in (to, of))
    return (to, of) if is_text else None


def _orders(
    pairs: Sequence[tuple[str, str] | None], own: Sequence[str], pool: Sequence[str], spec: DistractorSpec
) -> Iterator[Iterable[int]]:
    """Yield, for each row, places in the pool in the order in which they are taken; few are."""
    if spec.by == "random":
        for pair, name in zip(pairs, own, strict=True):
            yield _shuffled(_generator(pair[0] if pair else "", name), len(pool))
        return
    if not any(re.search(r"\w", text) for text in pool):  # nothing is similar to anything
        yield from (range(len(pool)) for _ in pairs)
        return
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+")
    candidates = vectorizer.fit_transform(pool)
    texts = [pair[0] if pair else "" for pair in pairs]
    for start in range(0, len(texts), ROWS_AT_ONCE):
        cosines = (vectorizer.transform(texts[start : start + ROWS_AT_ONCE]) @ candidates.T).tocsr()
        for first, end in pairwise(cosines.indptr):
            yield _by_similarity(cosines.indices[first:end], cosines.data[first:end], len(pool))


def _shuffled(generator: np.random.Generator, number: int) -> Iterator[int]:
    """Yield 0..number-1 in random order (Fisher & Yates), each drawn when it is asked for."""
    moved: dict[int, int] = {}
    for place in range(number):
        drawn = int(generator.integers(place, number))
        yield moved.get(drawn, drawn)
        moved[drawn] = moved.get(place, place)


def _by_similarity(places_N: np.ndarray, cosines_N: np.ndarray, number: int) -> Iterator[int]:
    """Yield the places with a cosine, the largest first, then the others; equal ones in order."""
    rounded_N = np.round(cosines_N, 9)
    similar = places_N[np.lexsort((places_N, -rounded_N))][: np.count_nonzero(rounded_N)].tolist()
    yield from similar
    known = set(similar)
    yield from (place for place in range(number) if place not in known)


def _choice(
    pair: tuple[str, str] | None,
    own: str,
    order: Iterable[int],
    names: Sequence[str],
    right: Mapping[str, set[str]],
    pool: Mapping[str, str],
    number: int,
) -> dict[str, Any] | None:
    if pair is None:
        return None
    wrong: list[str] = []
    for place in order:
        if names[place] not in right[normalized([pair[0]])]:
            wrong.append(names[place])
        if len(wrong) == number:
            break
    if len(wrong) < number:
        return None
    candidates = [own, *wrong]
    shuffled = [candidates[i] for i in _generator(pair[0], own, "order").permutation(len(candidates))]
    texts = [pair[1] if name == own else pool[name] for name in shuffled]
    return {
        "candidates": texts,
        "choice": shuffled.index(own),
        "distractors": [pool[name] for name in wrong],
    }


def _generator(*key: str) -> np.random.Generator:
    digest = hashlib.sha256(repr(key).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
