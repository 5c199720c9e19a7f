"""Rows from a ``datasets`` folder or hub name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import datasets

from sslm_platform.errors import DataError, Problem, suggest
from sslm_platform.spec.data import DatasetsData

_SAVED = ("dataset_dict.json", "state.json")  # what save_to_disk leaves


def read_datasets(
    data: DatasetsData, *, base: Path, cache: Path, where: str
) -> Mapping[str, datasets.Dataset]:
    """Return the splits that the spec names, as far as the data set has them (train it must have).

    Raises:
        DataError: no such data set or training split, or it cannot be loaded.
    """
    folder = base / Path(data.path).expanduser()
    found = _load(data, folder, cache, where)
    parts: dict[str, datasets.Dataset] = (
        {"train": found} if isinstance(found, datasets.Dataset) else dict(found)
    )
    train = data.splits.get("train", "train")
    if train not in parts:
        what = f"no split {train!r} in {data.path}{suggest(train, map(str, parts))}"
        raise DataError(Problem(f"{where}.splits.train", what))
    stated = data.splits if "splits" in data.model_fields_set else {}
    for ours, theirs in stated.items():
        if theirs not in parts:
            what = f"no split {theirs!r} in {data.path}{suggest(theirs, map(str, parts))}"
            raise DataError(Problem(f"{where}.splits.{ours}", what))
    return {ours: parts[theirs] for ours, theirs in data.splits.items() if theirs in parts}


def _load(
    data: DatasetsData, folder: Path, cache: Path, where: str
) -> datasets.Dataset | Mapping[str, datasets.Dataset]:
    try:
        if any((folder / name).exists() for name in _SAVED):
            return datasets.load_from_disk(str(folder))
        path = str(folder) if folder.exists() else data.path
        return datasets.load_dataset(
            path, data.config, revision=data.revision, cache_dir=str(cache / "datasets")
        )
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        what = f"cannot load {data.path!r}: {type(error).__name__}: {error}"
        raise DataError(Problem(f"{where}.path", what)) from None
