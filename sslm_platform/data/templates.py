"""Sentences with slots from templates, as Home Assistant's intents are written (the grammar of ``hassil``).

``(a|b)`` is one of, ``[a]`` perhaps, ``(a;b)`` both in any order, ``<rule>`` an expansion rule, ``{list}`` a
value of a list that fills the slot ``list``, ``{list:slot}`` one that fills ``slot``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from sslm_platform.errors import DataError, Problem

_PIECE = re.compile(r"[()\[\]|;]|<[^<>]+>|\{[^{}]+\}|[^()\[\]|;<>{}]+")
_WORD = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_CLOSES = {"(": ")", "[": "]"}
_DEEPEST = 30


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One filling of a slot: two next to each other are two, also of one name."""

    name: str


Drawn = list[tuple[str, Slot | None]]  # characters in pieces, with the slot that each fills


@dataclass(frozen=True, slots=True)
class Grammar:
    """What the templates of one language refer to."""

    rules: Mapping[str, str]
    values: Mapping[str, Sequence[str]]

    def draw(
        self, template: str, rng: np.random.Generator, slot: Slot | None = None, depth: int = 0
    ) -> Drawn:
        """Draw a sentence.

        Raises:
            ValueError: brackets that do not match, an unknown rule or list, or rules that go in circles.
        """
        pieces = _PIECE.findall(template)
        if depth > _DEEPEST or len("".join(pieces)) < len(template):
            raise ValueError(f"not a template: {template!r}")
        drawn, rest = self._one_of(pieces, rng, slot, depth)
        if rest:
            raise ValueError(f"{rest[0]} without its opening in {template!r}")
        return drawn

    def _one_of(
        self, pieces: list[str], rng: np.random.Generator, slot: Slot | None, depth: int
    ) -> tuple[Drawn, list[str]]:
        """Draw all alternatives up to a closing bracket, and choose one; what follows is returned too."""
        alternatives: list[list[Drawn]] = [[[]]]  # parts in any order, of each alternative
        while pieces:
            head, pieces = pieces[0], pieces[1:]
            if head in _CLOSES.values():
                pieces = [head, *pieces]
                break
            if head == "|":
                alternatives.append([[]])
            elif head == ";":
                alternatives[-1].append([])
            elif head in _CLOSES:
                inner, pieces = self._one_of(pieces, rng, slot, depth)
                if not pieces or pieces[0] != _CLOSES[head]:
                    raise ValueError(f"{head} without its closing")
                pieces = pieces[1:]
                alternatives[-1][-1] += inner if head == "(" or rng.random() < 0.5 else []
            else:
                alternatives[-1][-1] += self._piece(head, rng, slot, depth)
        parts = alternatives[int(rng.integers(len(alternatives)))]
        order = rng.permutation(len(parts)) if len(parts) > 1 else [0]
        whole: Drawn = []
        for place in order:
            whole += [(" ", slot), *parts[place]] if whole else parts[place]
        return whole, pieces

    def _piece(self, piece: str, rng: np.random.Generator, slot: Slot | None, depth: int) -> Drawn:
        if piece[0] == "<":
            if piece[1:-1] not in self.rules:
                raise ValueError(f"no expansion rule {piece}")
            return self.draw(self.rules[piece[1:-1]], rng, slot, depth + 1)
        if piece[0] == "{":
            name, _, filled = piece[1:-1].partition(":")
            if not self.values.get(name):
                raise ValueError(f"no values for {{{name}}}; give some in format.fill.{name}")
            value = self.values[name][int(rng.integers(len(self.values[name])))]
            return self.draw(value, rng, slot or Slot(filled or name), depth + 1)
        return [(piece, slot)]


def template_rows(
    content: str, per_template: int, fill: Mapping[str, Sequence[str]], where: str
) -> Iterator[dict[str, Any]]:
    """Draw sentences of each template, each sentence of an intent once.

    What is drawn depends on the template and on what it refers to only.

    Args:
        content: JSON with ``intents``, ``lists`` and ``expansion_rules``.
        per_template: draws of each template.
        fill: values of lists that have none, or other ones.
        where: the file's name, for messages.

    Raises:
        DataError: not JSON of that form, or a template that cannot be drawn from.
    """
    try:
        document = json.loads(content)
        intents = {
            intent: [template for block in found["data"] for template in block["sentences"]]
            for intent, found in document["intents"].items()
        }
        lists = {name: _values(found) for name, found in document["lists"].items()}
        grammar = Grammar(document["expansion_rules"], {**lists, **fill})
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        form = "{intents: {NAME: {data: [{sentences}]}}, lists, expansion_rules}"
        raise DataError(Problem(where, f"expected {form}: {error!r}")) from None
    for intent, templates in intents.items():
        seen = set()
        for template in dict.fromkeys(templates):
            for number in range(per_template):
                seed = hashlib.sha256(f"{template}\n{number}".encode()).digest()[:8]
                rng = np.random.default_rng(int.from_bytes(seed, "big"))
                try:
                    text, tokens, tags = tagged(grammar.draw(template, rng))
                except ValueError as error:
                    raise DataError(Problem(f"{where}: {intent}", str(error))) from None
                if text and text not in seen:
                    seen.add(text)
                    row = {"text": text, "tokens": tokens, "tags": tags}
                    yield {**row, "intent": intent, "template": f"{intent}: {template}"}


def _values(found: Mapping[str, Any]) -> list[str]:
    if "range" in found:
        span = found["range"]
        return [str(n) for n in range(span["from"], span["to"] + 1, span.get("step", 1))]
    return [str(value["in"] if isinstance(value, Mapping) else value) for value in found.get("values", ())]


def tagged(drawn: Drawn) -> tuple[str, list[str], list[str]]:
    """Return the text, its words and their BIO tags; each Chinese or Japanese character is a word."""
    characters = "".join(text for text, _ in drawn)
    slots = [slot for text, slot in drawn for _ in text]
    words = list(_WORD.finditer(characters))
    filled = [next((slot for slot in slots[slice(*word.span())] if slot), None) for word in words]
    tags = []
    for slot, run in groupby(filled):
        tags += [f"{'I' if i else 'B'}-{slot.name}" if slot else "O" for i, _ in enumerate(run)]
    return " ".join(characters.split()), [word[0] for word in words], tags
