"""A stream of a spec to its rows, split and fingerprinted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np

from sslm_platform.data.sources import read_source
from sslm_platform.data.splits import SPLITS, row_digests, split_rows
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.schema import FieldSpec, StreamSpec

INPUTS = ("text", "text_pair", "tokens")  # fields that the encoder reads; all others are targets


@dataclass(frozen=True, slots=True, eq=False)
class StreamRows:
    """All rows of a stream.

    Attributes:
        name: the stream's name.
        domain: its domain.
        splits: rows of train, dev and test; a split that the data does not have is empty.
        keys: for each split (N,) uint64, a row's identity: a hash of its content and, among
            equal rows, its number.
        fingerprint: SHA-256 over every row's content and split, in order; the same on every machine.
    """

    name: str
    domain: str
    splits: Mapping[SplitName, datasets.Dataset]
    keys: Mapping[SplitName, np.ndarray]
    fingerprint: str


def load_stream(stream: StreamSpec, *, base: Path, cache: Path, where: str = "streams[0]") -> StreamRows:
    """Read, split and fingerprint a stream's rows.

    Args:
        stream: the spec's section.
        base: folder of the spec, for relative paths.
        cache: folder for downloads and parsed text; with what it needs in there, no network is used.
        where: key path of the section, for messages.

    Raises:
        DataError: the rows cannot be had, are not in the format, or cannot be split as told.
    """
    parts = read_source(stream.data, base=base, cache=cache, where=f"{where}.data")
    splits = split_rows(parts, stream.split, input_columns(stream), where=f"{where}.split")
    digest = hashlib.sha256()
    keys: dict[SplitName, np.ndarray] = {}
    seen: Counter[bytes] = Counter()
    for name in SPLITS:
        digests = row_digests(splits[name])
        digest.update(f"{name} {len(digests)}\n".encode() + b"".join(digests))
        keys[name] = _keys(digests, seen)
    return StreamRows(stream.name, stream.domain, splits, keys, digest.hexdigest())


def input_columns(stream: StreamSpec) -> list[str]:
    """Return the columns that the stream's tasks read as input, sorted."""
    fields = [pair for task in stream.tasks for pair in task.fields.items()]
    return sorted({s.column if isinstance(s, FieldSpec) else s for name, s in fields if name in INPUTS})


def _keys(digests: list[bytes], seen: Counter[bytes]) -> np.ndarray:
    keys = np.empty(len(digests), dtype=np.uint64)
    for i, digest in enumerate(digests):
        copy = seen[digest]
        seen[digest] += 1
        content = hashlib.sha256(digest + copy.to_bytes(8, "big")).digest()
        keys[i] = int.from_bytes(content[:8], "big")
    return keys
