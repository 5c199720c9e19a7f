"""A stream of a spec to its rows, split and fingerprinted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from sslm_platform.data.distractors import DRAWN, with_distractors
from sslm_platform.data.sources import Source, read_source
from sslm_platform.data.splits import SPLITS, Splits, row_digests, split_bases, split_places
from sslm_platform.data.tables import stored_table, table_path
from sslm_platform.errors import DataError, Problem
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.schema import FieldSpec, StreamSpec

_VERSION = 3  # of the split tables' content; part of their key
_FINGERPRINT = b"fingerprint"

INPUTS = ("text", "text_pair", "tokens", "context")  # fields that the encoder reads; all others are targets


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
    source = read_source(stream.data, base=base, cache=cache, where=f"{where}.data")
    bases = split_bases(source.parts, stream.split, where=f"{where}.split")
    table = _split_table(stream, source, bases, cache, f"{where}.split")
    splits: Splits = {}
    keys: dict[SplitName, np.ndarray] = {}
    ends = np.searchsorted(_numpy(table, "split"), np.arange(len(SPLITS), dtype=np.uint8), side="right")
    for split, start, end in zip(SPLITS, [0, *ends], ends, strict=False):
        part = table.slice(start, end - start)
        splits[split] = _chosen(bases[split], part.select(["indices"]), f"{source.identity} {split}")
        keys[split] = _numpy(part, "key")
    fingerprint = table.schema.metadata[_FINGERPRINT].decode()
    if stream.distractors is not None:
        fingerprint = hashlib.sha256(f"{fingerprint} {DRAWN} {stream.distractors!r}".encode()).hexdigest()
        for split in SPLITS:
            splits[split] = with_distractors(
                splits[split], stream.distractors, f"{fingerprint}-{split}", where=f"{where}.distractors"
            )
    return StreamRows(stream.name, stream.domain, splits, keys, fingerprint)


def _split_table(stream: StreamSpec, source: Source, bases: Splits, cache: Path, where: str) -> pa.Table:
    """Return the columns ``split`` (its number), ``indices`` (into its base) and ``key`` of all rows."""
    inputs = shared_columns(stream, where)
    path = table_path(cache, "splits", _VERSION, source.identity, stream.split.model_dump(), inputs)

    def make() -> Iterator[pa.RecordBatch]:
        places = split_places(bases, stream.split, inputs, where=where)
        indices = {split: pa.table({"indices": places[split].astype(np.uint64)}) for split in SPLITS}
        chosen = [_chosen(bases[split], indices[split], split) for split in SPLITS]
        keys_N, fingerprint = _keys(chosen)
        sizes = [len(places[split]) for split in SPLITS]
        columns = {
            "indices": np.concatenate([places[split] for split in SPLITS]).astype(np.uint64),
            "key": keys_N,
            "split": np.repeat(np.arange(len(SPLITS), dtype=np.uint8), sizes),
        }
        batch = pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in columns.items()})
        yield batch.replace_schema_metadata({_FINGERPRINT: fingerprint})

    return stored_table(path, make)


def _numpy(table: pa.Table, name: str) -> np.ndarray:
    column = table.column(name)
    return column.chunk(0).to_numpy() if column.num_chunks else np.empty(0, column.type.to_pandas_dtype())


def _chosen(base: datasets.Dataset, indices: pa.Table, name: str) -> datasets.Dataset:
    """Return some rows of a base; unlike ``base.select`` without a list of them all."""
    if len(indices) == len(base):
        return base
    table = datasets.table.InMemoryTable(indices)
    fingerprint = hashlib.sha256(f"{name} {base._fingerprint} {len(indices)}".encode()).hexdigest()[:16]
    return datasets.Dataset(base.data, info=base.info.copy(), indices_table=table, fingerprint=fingerprint)


def shared_columns(stream: StreamSpec, where: str) -> list[str]:
    """Return the columns that all tasks of the stream read as input, sorted: the default group of its split.

    Rows that are equal in them stay in one split, whichever task reads them.

    Raises:
        DataError: there is none, and the split names no group.
    """
    read = [
        {s.column if isinstance(s, FieldSpec) else s for name, s in task.fields.items() if name in INPUTS}
        for task in stream.tasks
    ]
    shared = set.intersection(*read) if read else set()
    split = stream.split
    if not shared and split.group is None and (split.by == "hash" or split.dev_from_train is not None):
        what = "its tasks read no column in common: name those of which equal rows stay in one split"
        raise DataError(Problem(f"{where}.group", what))
    return sorted(shared)


def _keys(splits: list[datasets.Dataset]) -> tuple[np.ndarray, str]:
    """Return all rows' keys and the fingerprint of all rows.

    Equal rows are numbered in order. They are found by 64 bits of their digests, so that 8 bytes a row are
    held; should two rows ever share these by chance, one has another number, and each a key of its own.
    """
    fingerprint = hashlib.sha256()
    keys, prefixes = [], []
    for split, rows in zip(SPLITS, splits, strict=True):
        fingerprint.update(f"{split} {len(rows)}\n".encode())
        keys_N, prefixes_N = (np.empty(len(rows), dtype=np.uint64) for _ in range(2))
        for i, digest in enumerate(row_digests(rows)):
            fingerprint.update(digest)
            keys_N[i], prefixes_N[i] = _key(digest, 0), int.from_bytes(digest[:8], "big")
        keys.append(keys_N)
        prefixes.append(prefixes_N)
    start = 0
    copies_N = _copies(np.concatenate(prefixes))
    for rows, keys_N in zip(splits, keys, strict=True):
        later = np.flatnonzero(copies_N[start : start + len(rows)])
        for row, digest in zip(later.tolist(), row_digests(rows.select(later)), strict=True):
            keys_N[row] = _key(digest, int(copies_N[start + row]))
        start += len(rows)
    return np.concatenate(keys), fingerprint.hexdigest()


def _key(digest: bytes, copy: int) -> int:
    content = hashlib.sha256(digest + copy.to_bytes(8, "big")).digest()
    return int.from_bytes(content[:8], "big")


def _copies(values_N: np.ndarray) -> np.ndarray:
    """Return how many equal values stand before each, (N,) int32."""
    order_N = np.argsort(values_N, kind="stable")
    sorted_N = values_N[order_N]
    starts = np.flatnonzero(np.r_[True, sorted_N[1:] != sorted_N[:-1]]) if len(values_N) else np.empty(0, int)
    sizes = np.diff(np.r_[starts, len(values_N)])
    copies_N = np.empty(len(values_N), dtype=np.int32)
    copies_N[order_N] = np.arange(len(values_N)) - np.repeat(starts, sizes)
    return copies_N
