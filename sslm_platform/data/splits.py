"""Rows to train, dev and test: by the hash of each row's group, or as the source gives them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np

from sslm_platform.data.sources import ALL
from sslm_platform.errors import DataError, Problem, suggest
from sslm_platform.spec.data import GroupSpec, SplitName, SplitSpec

_ROWS_AT_ONCE = 1000

SPLITS: tuple[SplitName, ...] = ("train", "dev", "test")

Splits = dict[SplitName, datasets.Dataset]


def split_rows(
    parts: Mapping[str, datasets.Dataset], spec: SplitSpec, inputs: Sequence[str], *, where: str
) -> Splits:
    """Return train, dev and test (empty where there is none).

    Args:
        parts: the source's rows, as :func:`~sslm_platform.data.sources.read_source` returns them.
        spec: the spec's ``split`` section.
        inputs: columns that the tasks read; they are the default group.
        where: key path of the section, for messages.

    Raises:
        DataError: no such group column, or ``given`` where the source has no splits.
    """
    if spec.by == "hash":
        rows = datasets.concatenate_datasets(list(parts.values()))
        fractions_N = hash_fractions(groups(rows, spec.group, inputs, where))
        bounds = np.array([spec.train, spec.train + spec.dev])
        chosen_N = np.searchsorted(bounds, fractions_N, side="right")
        return {split: rows.select(np.flatnonzero(chosen_N == i)) for i, split in enumerate(SPLITS)}
    if ALL in parts:
        what = "given needs splits in the data (data.path: {train: …, test: …}); or use by: hash"
        raise DataError(Problem(f"{where}.by", what))
    if "train" not in parts:
        raise DataError(Problem(f"{where}.by", f"given needs train; the data have {', '.join(parts)} only"))
    empty = parts["train"].select([])
    # An empty file has no columns: it gets those of train.
    given: Splits = {split: parts[split] if len(parts.get(split, ())) else empty for split in SPLITS}
    if spec.dev_from_train is not None and len(given["dev"]) == 0:
        rows = given["train"]
        is_dev_N = hash_fractions(groups(rows, spec.group, inputs, where)) < spec.dev_from_train
        given["train"], given["dev"] = (rows.select(np.flatnonzero(m)) for m in (~is_dev_N, is_dev_N))
    return given


def groups(
    rows: datasets.Dataset, group: str | GroupSpec | None, inputs: Sequence[str], where: str
) -> list[str]:
    """Return the text that names each row's group."""
    if group is None:
        columns = [name for name in inputs if name in rows.column_names] or rows.column_names
        return [normalized(values) for values in zip(*(rows[name][:] for name in columns), strict=True)]
    spec = group if isinstance(group, GroupSpec) else GroupSpec(column=group)
    if spec.column not in rows.column_names:
        known = suggest(spec.column, rows.column_names)
        raise DataError(Problem(f"{where}.group", f"no column {spec.column!r}{known}"))
    names = [str(value) for value in rows[spec.column][:]]
    return [name.split(spec.before, 1)[0] for name in names] if spec.before else names


def normalized(values: Sequence[Any]) -> str:
    """Return one text for inputs that differ in case and spacing only."""
    text = values[0] if len(values) == 1 and isinstance(values[0], str) else _canonical(values)
    return " ".join(text.casefold().split())


def hash_fractions(names: Sequence[str]) -> np.ndarray:
    """Map each name to [0, 1) by its SHA-256: the same on every machine and in any order of rows."""
    digests = (hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest() for name in names)
    return np.array([int.from_bytes(d[:7], "big") for d in digests], dtype=np.float64) / 2.0**56


def row_digests(rows: datasets.Dataset) -> list[bytes]:
    """Return the SHA-256 of each row's content as canonical JSON."""
    names = rows.column_names
    contents = (
        _canonical(dict(zip(names, values, strict=True)))
        for batch in rows.iter(_ROWS_AT_ONCE)
        for values in zip(*(batch[name] for name in names), strict=True)
    )
    return [hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest() for content in contents]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
