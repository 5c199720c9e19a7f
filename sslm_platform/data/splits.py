"""Rows to train, dev and test: by the hash of each row's group, or as the source gives them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import datasets
import numpy as np

from sslm_platform.data.sources import ALL
from sslm_platform.data.tables import row_batches
from sslm_platform.errors import DataError, Problem, suggest
from sslm_platform.spec.data import GroupSpec, SplitName, SplitSpec

SPLITS: tuple[SplitName, ...] = ("train", "dev", "test")

Parts = Mapping[str, datasets.Dataset]
Splits = dict[SplitName, datasets.Dataset]


def split_bases(parts: Parts, spec: SplitSpec, *, where: str) -> Splits:
    """Return the rows that each split is chosen from; reads none.

    Args:
        parts: the source's rows, as :func:`~sslm_platform.data.sources.read_source` returns them.
        spec: the spec's ``split`` section.
        where: key path of the section, for messages.

    Raises:
        DataError: ``given`` where the source has no splits.
    """
    if spec.by != "given":
        try:
            return dict.fromkeys(SPLITS, datasets.concatenate_datasets(list(parts.values())))
        except ValueError as error:  # a column of numbers here, of text there
            raise DataError(Problem(where, f"{', '.join(parts)} cannot be joined: {error}")) from None
    if ALL in parts:
        what = "given needs splits in the data (data.path: {train: …, test: …}); or use by: hash"
        raise DataError(Problem(f"{where}.by", what))
    if "train" not in parts:
        raise DataError(Problem(f"{where}.by", f"given needs train; the data have {', '.join(parts)} only"))
    empty = parts["train"].select([])
    # An empty file has no columns: it gets those of train.
    given: Splits = {split: parts[split] if len(parts.get(split, ())) else empty for split in SPLITS}
    if spec.dev_from_train is not None and len(given["dev"]) == 0:
        given["dev"] = given["train"]
    return given


def split_places(
    bases: Splits, spec: SplitSpec, inputs: Sequence[str], *, where: str
) -> dict[SplitName, np.ndarray]:
    """Return each split's rows, as increasing places in its base.

    Args:
        bases: as :func:`split_bases` returns them.
        spec: the spec's ``split`` section.
        inputs: columns that all tasks read; they are the default group.
        where: key path of the section, for messages.

    Raises:
        DataError: no such group column.
    """
    if spec.by == "hash":
        fractions_N = hash_fractions(groups(bases["train"], spec.group, inputs, where))
        bounds = np.array([spec.train, spec.train + spec.dev])
        chosen_N = np.searchsorted(bounds, fractions_N, side="right")
        return {split: np.flatnonzero(chosen_N == i) for i, split in enumerate(SPLITS)}
    if spec.by == "column":
        places = _places_by_column(bases["train"], spec, where)
        no_dev = not len(places["dev"])
    else:
        places = {split: np.arange(len(base)) for split, base in bases.items()}
        no_dev = bases["dev"] is bases["train"]
    if spec.dev_from_train is not None and no_dev:
        train = bases["train"].select(places["train"]) if spec.by == "column" else bases["train"]
        is_dev_N = hash_fractions(groups(train, spec.group, inputs, where)) < spec.dev_from_train
        places |= {"dev": places["train"][is_dev_N], "train": places["train"][~is_dev_N]}
    return places


def _places_by_column(rows: datasets.Dataset, spec: SplitSpec, where: str) -> dict[SplitName, np.ndarray]:
    assert spec.column is not None
    if spec.column not in rows.column_names:
        known = suggest(spec.column, rows.column_names)
        raise DataError(Problem(f"{where}.column", f"no column {spec.column!r}{known}"))
    names = [str(value) for (value,) in _rows(rows, [spec.column])]
    split_of = {value: split for split, values in spec.values.items() for value in values}
    places = {split: np.flatnonzero([split_of.get(name) == split for name in names]) for split in SPLITS}
    if not len(places["train"]):
        found = ", ".join(sorted(set(names))[:10])
        raise DataError(Problem(f"{where}.values", f"no row is of train; {spec.column} has {found}"))
    return places


def groups(
    rows: datasets.Dataset, group: str | GroupSpec | None, inputs: Sequence[str], where: str
) -> Iterator[str]:
    """Yield the text that names each row's group; a row without a value is of that of its inputs."""
    columns = [name for name in inputs if name in rows.column_names] or rows.column_names
    if group is None:
        for values in _rows(rows, columns):
            yield normalized(values)
        return
    spec = group if isinstance(group, GroupSpec) else GroupSpec(column=group)
    if spec.column not in rows.column_names:
        known = suggest(spec.column, rows.column_names)
        raise DataError(Problem(f"{where}.group", f"no column {spec.column!r}{known}"))
    for value, *own in _rows(rows, [spec.column, *columns]):
        if value is None or value != value or not str(value).strip():  # NaN is not itself
            yield normalized(own)
        else:
            yield str(value).split(spec.before, 1)[0] if spec.before else str(value)


def _rows(rows: datasets.Dataset, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for batch in row_batches(rows, columns):
        yield from zip(*(batch[name] for name in columns), strict=True)


def normalized(values: Sequence[Any]) -> str:
    """Return one text for inputs that differ in case and spacing only."""
    text = values[0] if len(values) == 1 and isinstance(values[0], str) else _canonical(values)
    return " ".join(text.casefold().split())


def hash_fractions(names: Iterable[str]) -> np.ndarray:
    """Map each name to [0, 1) by its SHA-256: the same on every machine and in any order of rows."""
    digests = (hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest() for name in names)
    return np.fromiter((int.from_bytes(d[:7], "big") for d in digests), dtype=np.float64) / 2.0**56


def row_digests(rows: datasets.Dataset) -> Iterator[bytes]:
    """Yield the SHA-256 of each row's content as canonical JSON."""
    names = rows.column_names
    for values in _rows(rows, names):
        content = _canonical(dict(zip(names, values, strict=True)))
        yield hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
