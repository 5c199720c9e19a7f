"""Words and their tokens: where each begins and ends, and markers around two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_SIGNS = (("@", "*"), ("#", "^"))  # around the first and the second span, and around their types


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Each word's tokens, [start, end); (-1, 0) where truncation left none, or the word has none."""

    start: np.ndarray
    end: np.ndarray

    def of(self, words: Sequence[int]) -> Bounds:
        """Return the bounds of some words."""
        return Bounds(self.start[words], self.end[words])


def word_bounds(word_ids: Sequence[int | None], num_words: int) -> Bounds:
    """Return the bounds of words whose tokens these are; a special token has None.

    Positions of one word are neighbours in every fast tokenizer, so that the last one seen ends it.
    """
    bounds = Bounds(np.full(num_words, -1), np.zeros(num_words, dtype=np.int64))
    for position, word in enumerate(word_ids):
        if word is not None:
            bounds.end[word] = position + 1
            if bounds.start[word] < 0:
                bounds.start[word] = position
    return bounds


def token_bytes(
    texts: Sequence[str], offsets: Sequence[tuple[int, int]], parts: Sequence[int | None]
) -> np.ndarray:
    """Return how many bytes of UTF-8 each token stands for, with the white space before it, (L,).

    Tokens of one character together stand for it once; their sum is the bytes of the texts up to the last
    token.

    Args:
        texts: one text or two.
        offsets: each token's characters, [start, end).
        parts: the number of the text of each token; None of a special one.
    """
    before = []
    for text in texts:
        point_C = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        size_C = 1 + (point_C > 0x7F) + (point_C > 0x7FF) + (point_C > 0xFFFF)
        before.append(np.concatenate([[0], np.cumsum(size_C)]))
    seen, found = [0] * len(texts), np.zeros(len(offsets), dtype=np.int64)
    for position, ((_, end), part) in enumerate(zip(offsets, parts, strict=True)):
        if part is not None and end > seen[part]:
            found[position] = before[part][end] - before[part][seen[part]]
            seen[part] = end
    return found


@dataclass(frozen=True, slots=True)
class Marked:
    """Words with markers among them.

    Attributes:
        words: to be tokenized.
        places: where the words were put that were given.
        markers: where the first marker of each span is.
    """

    words: list[str]
    places: list[int]
    markers: list[int]


def mark_spans(words: Sequence[str], spans: Mapping[str, Any]) -> Marked:
    """Put markers around two spans of words.

    The first becomes ``@ span @`` and the second ``# span #``; with types ``@ * type * span @`` and
    ``# ^ type ^ span #``: the punctuation markers of Zhou & Chen 2022, "An Improved Baseline for
    Sentence-level Relation Extraction", which every tokenizer knows, so that no embedding starts at random.

    Args:
        words: of the sentence.
        spans: ``start`` and ``end`` (exclusive) of both, and perhaps ``type``.
    """
    types = spans.get("type") or (None, None)
    opening: dict[int, list[tuple[int, list[str]]]] = {}
    closing: dict[int, list[str]] = {}
    for number, (sign, quote) in enumerate(_SIGNS):
        kind = types[number]
        marks = [sign] if kind is None else [sign, quote, kind, quote]
        opening.setdefault(spans["start"][number], []).append((number, marks))
        closing.setdefault(spans["end"][number], []).append(sign)
    marked = Marked([], [], [0, 0])
    for index in range(len(words) + 1):
        marked.words.extend(closing.get(index, ()))
        for number, marks in opening.get(index, ()):
            marked.markers[number] = len(marked.words)
            marked.words.extend(marks)
        if index < len(words):
            marked.places.append(len(marked.words))
            marked.words.append(words[index])
    return marked
