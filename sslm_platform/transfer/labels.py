"""Labels of a source's head as labels of a target: by name, or as the spec maps them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

OUTSIDE = "O"

LabelMapping = tuple[int, ...]
"""For each label of the source's head the id of the target's label that it stands for, or -1: none."""


def match_labels(
    source: Sequence[str], target: Sequence[str], renamed: Mapping[str, str], *, tags: bool
) -> LabelMapping:
    """Match each label of a source with one of the target.

    A label is matched as ``renamed`` says, else by the same name, else by the one name that differs in case
    alone. Of ``tags`` (``B-PER``) the types are matched; a type may be renamed to ``O``.
    """
    return tuple(_match(label, target, renamed, tags) for label in source)


def unmatched(mapping: LabelMapping, target: Sequence[str]) -> tuple[str, ...]:
    """Return the target's labels that no label of the source stands for."""
    return tuple(label for index, label in enumerate(target) if index not in mapping)


def label_kinds(labels: Iterable[str], *, tags: bool) -> tuple[str, ...]:
    """Return the names that a label map may use: labels, or the types of tags and ``O``."""
    if not tags:
        return tuple(labels)
    return tuple(dict.fromkeys(_parts(label)[1] for label in labels))


def _match(label: str, target: Sequence[str], renamed: Mapping[str, str], tags: bool) -> int:
    prefix, kind = _parts(label) if tags else ("", label)
    if kind in renamed:
        wanted = renamed[kind]
        return _index(wanted if not prefix or wanted == OUTSIDE else f"{prefix}-{wanted}", target)
    return _index(label, target)


def _index(label: str, target: Sequence[str]) -> int:
    if label in target:
        return target.index(label)
    folded: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(target):
        folded[name.casefold()].append(index)
    alike = folded.get(label.casefold(), [])
    return alike[0] if len(alike) == 1 else -1


def _parts(tag: str) -> tuple[str, str]:
    """Split ``B-PER`` into ``B`` and ``PER``; ``O`` has no prefix."""
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash else ("", tag)
