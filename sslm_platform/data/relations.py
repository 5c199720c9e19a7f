"""Sentences with related spans, as data sets write them, to rows of words, two spans and a relation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import permutations
from typing import Any

from sslm_platform.errors import DataError, Problem
from sslm_platform.spec.data import RelationsFormat

_TAG = re.compile(r"(</?e[12]>)")
_WORD = re.compile(r"\w+|[^\w\s]")
_SENTENCE = re.compile(r'\s*(\d+)\t"(.*)"\s*')


def semeval_rows(lines: Iterable[str], where: str) -> Iterator[dict[str, Any]]:
    """Parse SemEval-2010 Task 8 (Hendrickx et al. 2010): a sentence, and its relation in the next line.

    Words are runs of letters and digits; every other character but spaces is a word too.

    Raises:
        DataError: a sentence lacks a span, or has no relation, with the line.
    """
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        sentence = _SENTENCE.fullmatch(line)
        if sentence is None:
            continue
        _, label = next(numbered, (0, ""))
        if not label.strip():
            raise DataError(Problem(f"{where}:{number}", "no relation follows the sentence"))
        tokens, spans = _tagged(sentence[2], f"{where}:{number}")
        yield {"id": sentence[1], "tokens": tokens, "spans": spans, "label": label.strip()}


def _tagged(text: str, where: str) -> tuple[list[str], dict[str, list[int]]]:
    tokens: list[str] = []
    found: dict[str, int] = {}
    for part in _TAG.split(text):
        if _TAG.fullmatch(part):
            found[part] = len(tokens)
        else:
            tokens += _WORD.findall(part)
    lacking = [tag for tag in ("<e1>", "</e1>", "<e2>", "</e2>") if tag not in found]
    if lacking:
        raise DataError(Problem(where, f"the sentence has no {lacking[0]}"))
    return tokens, {"start": [found["<e1>"], found["<e2>"]], "end": [found["</e1>"], found["</e2>"]]}


def relation_rows(row: Mapping[str, Any], form: RelationsFormat, where: str) -> Iterator[dict[str, Any]]:
    """Make a row of each pair of entities of a sentence.

    Raises:
        DataError: the sentence has not the fields of the format.
    """
    try:
        types = {(first, last + 1): kind for first, last, kind in row["ner"]}
        relations: dict[tuple[tuple[int, int], tuple[int, int]], list[str]] = {}
        for first, last, other_first, other_last, label, *_ in row["relations"]:
            relations.setdefault(((first, last + 1), (other_first, other_last + 1)), []).append(label)
        tokens, identity = row["sentence"], str(row.get("doc_key", ""))
    except (KeyError, TypeError, ValueError) as error:
        form_of = "sentence, ner [first, last, type] and relations [first, last, first, last, name]"
        raise DataError(Problem(where, f"expected {form_of}: {error!r}")) from None
    pairs = list(relations)
    if form.no_relation is not None:
        pairs += [pair for pair in permutations(types, 2) if pair not in relations]
    for pair in pairs:
        labels = sorted(set(relations.get(pair, ())))
        spans: dict[str, Any] = {"start": [s for s, _ in pair], "end": [e for _, e in pair]}
        if form.types:
            spans["type"] = [types.get(span, "") for span in pair]
        label = form.no_relation if not labels else labels[0] if len(labels) == 1 else None
        yield {"id": identity, "tokens": tokens, "spans": spans, "labels": labels, "label": label}
