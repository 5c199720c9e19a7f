"""Spans and their threshold against brute force."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslm_heads.options import SpanOptions
from sslm_heads.span import SpanExtractor

from sslm_platform.api import HeadContext, Scored

CONTEXT = HeadContext(4, 10, ())


def rows(*windows):
    """Rows of one example; each window has "no answer" and tokens of two characters."""
    table, place = [], 0
    for number, size in enumerate(windows):
        table.append((0, number, -1, -1))
        for _ in range(size):
            table.append((0, number, place, place + 2))
            place += 2
    names = ("example", "row", "start", "end")
    return {name: torch.tensor(column) for name, column in zip(names, zip(*table, strict=True), strict=True)}


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 9999), longest=st.integers(1, 4))
def test_answer_is_the_best_of_all_spans_within_windows(seed, longest):
    head, targets = SpanExtractor(SpanOptions(max_tokens=longest), CONTEXT), rows(3, 4)
    logits = np.random.default_rng(seed).normal(size=(9, 2))
    window, start, end = (targets[name].numpy() for name in ("row", "start", "end"))
    spans = {}
    for first, last in itertools.product(range(9), range(9)):
        inside = window[first] == window[last] and start[first] >= 0 and start[last] >= 0
        if inside and 0 <= last - first < longest:
            spans[first, last] = logits[first, 0] + logits[last, 1]
    best = max(spans, key=spans.get)
    none = max(logits[i].sum() for i in (0, 4))
    (score,) = head.scores(torch.tensor(logits), targets, 1)
    assert score == pytest.approx([none - spans[best], start[best[0]], end[best[1]]])
    expected = [-1, -1] if none > spans[best] else [start[best[0]], end[best[1]]]
    assert head.predict(torch.tensor(logits), targets, 1)[0].tolist() == expected
    (listed,) = head.candidates(torch.tensor(logits), targets, 1, 4)
    values = sorted([none, *spans.values()], reverse=True)
    total = np.exp(values).sum()
    assert [share for _, share in listed] == pytest.approx([np.exp(v) / total for v in values[:4]])
    assert listed[0][0].tolist() == expected


def test_question_without_context_has_no_answer():
    head = SpanExtractor(SpanOptions(), CONTEXT)
    assert head.predict(torch.zeros(1, 2), rows(0), 1)[0].tolist() == [-1, -1]
    assert head.predict(torch.zeros(0, 2), {n: v[:0] for n, v in rows(1).items()}, 1)[0].tolist() == [-1, -1]


excesses = st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.booleans()), min_size=1, max_size=8)


@settings(deadline=None, max_examples=100)
@given(excesses)
def test_no_threshold_answers_better(data):
    """Of each example: by how much "no answer" wins, whether there is one, whether the span is it."""
    head = SpanExtractor(SpanOptions(), CONTEXT)
    answers = [{"text": "xx", "start": 1}]
    references = [{"context": "x" * 9, "answers": answers if has else []} for _, has, _ in data]
    scores = [np.array([excess, 1.0, 3.0] if right else [excess, 5.0, 7.0]) for excess, _, right in data]
    zeros = np.zeros(len(data))
    head.tune(Scored([], references, zeros, zeros, scores))

    def quality(threshold):
        head.threshold.fill_(threshold)
        return sum(
            not has if span[0] < 0 else has and right
            for span, (_, has, right) in zip(head.decide(scores), data, strict=True)
        )

    tuned = quality(float(head.threshold))
    assert tuned == max(quality(cut) for cut in np.arange(-4.5, 5, 1.0))
