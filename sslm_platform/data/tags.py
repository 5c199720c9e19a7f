"""Chunk tags in BIO, whatever scheme the data use, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Scheme = Literal["bio", "iob1", "iobes", "io", "word"]

OUTSIDE = "O"

# BILOU and BMES write the same four positions with other letters.
_LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
_ALLOWED = {"bio": "BI", "iob1": "BI", "iobes": "BIMELSU"}
_BARE = {"io": "I", "word": "S"}  # what a tag without a prefix means


def to_bio(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """Return the tags in BIO: ``O``, or ``B-``/``I-`` and a type.

    An ``I-`` (or ``E-``) that continues nothing begins a chunk, as seqeval's default mode reads it; that is
    also what makes BIO out of IOB1. With ``io`` tags have no prefix: each run of equal tags is one chunk, and
    only ``O`` itself is outside (a label such as ``NotAddress`` is a label). With ``word`` they have none
    either, and each is a chunk of one word: parts of speech.

    Raises:
        ValueError: a tag that the scheme does not have.
    """
    pairs = _pairs(tags, scheme)
    result = []
    open_type = None  # of the chunk that the next tag can continue
    for letter, kind in pairs:
        if letter == OUTSIDE:
            result.append(OUTSIDE)
            open_type = None
            continue
        begins = letter in "BS" or kind != open_type
        result.append(f"{'B' if begins else 'I'}-{kind}")
        open_type = None if letter in "ES" else kind
    return result


def from_bio(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """Return BIO tags in another scheme, with the letters B, I, E and S; the inverse of :func:`to_bio`.

    In IOB1 a chunk begins with ``B-`` only where it follows another of its type. ``io`` and ``word`` have no
    prefixes: two neighbours of one type become one chunk there.
    """
    result = []
    for place, tag in enumerate(tags):
        letter, _, kind = tag.partition("-")
        before = tags[place - 1][2:] if place and tags[place - 1] != OUTSIDE else ""
        is_last = place + 1 == len(tags) or tags[place + 1] != f"I-{kind}"
        if tag == OUTSIDE or scheme == "bio":
            result.append(tag)
        elif scheme in _BARE:
            result.append(kind)
        elif scheme == "iob1":
            result.append(f"{'B' if letter == 'B' and before == kind else 'I'}-{kind}")
        else:
            result.append(f"{('S' if is_last else 'B') if letter == 'B' else 'E' if is_last else 'I'}-{kind}")
    return result


def is_well_formed(tags: Sequence[str], scheme: Scheme) -> bool:
    """Whether tags of a scheme are what it prescribes: every chunk begun, gone on with and ended.

    Raises:
        ValueError: a tag that the scheme does not have.
    """
    if scheme in _BARE:
        return True
    letters = [letter if letter == OUTSIDE else f"{letter}-{kind}" for letter, kind in _pairs(tags, scheme)]
    return from_bio(to_bio(tags, scheme), scheme) == letters


def rename_types(tags: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Return BIO tags with the name of each chunk's type; chunks of types without a name are outside."""
    return [f"{tag[:2]}{names[tag[2:]]}" if tag[2:] in names else OUTSIDE for tag in tags]


def tag_set(tags: Sequence[str]) -> tuple[str, ...]:
    """Return ``O`` and then, for each type in order of name, ``B-`` and ``I-``."""
    kinds = sorted({tag[2:] for tag in tags if tag != OUTSIDE})
    return (OUTSIDE, *(f"{letter}-{kind}" for kind in kinds for letter in "BI"))


def _pairs(tags: Sequence[str], scheme: Scheme) -> list[tuple[str, str]]:
    return [_parse(tag, scheme) for tag in tags]


def _parse(tag: str, scheme: str) -> tuple[str, str]:
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if scheme in _BARE:
        return _BARE[scheme], tag
    letter, dash, kind = tag.partition("-")
    if not dash or not kind or letter not in _ALLOWED[scheme] or len(letter) != 1:
        raise ValueError(f"tag {tag!r} is not {scheme.upper()}; without prefixes, set scheme: io (or word)")
    return _LETTERS[letter], kind
