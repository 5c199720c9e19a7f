"""Rows from wherever a spec's ``data`` section says."""

from __future__ import annotations

import glob
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import IO, Any, cast

import datasets
import pyarrow as pa

from sslm_platform.data.archive import read_members
from sslm_platform.data.docstrings import find_docstrings
from sslm_platform.data.download import fetch_archive
from sslm_platform.data.formats import Opener, read_batches, read_parallel
from sslm_platform.data.hub import read_datasets
from sslm_platform.data.tables import Columns, dataset_of, record_batch, stored_table, table_path
from sslm_platform.errors import DataError, Problem, suggest
from sslm_platform.spec.data import (
    ArchiveData,
    DatasetsData,
    DataSpec,
    DocstringData,
    FileData,
    Format,
    ParallelData,
)

ALL = "all"  # the one part of a source that has no splits of its own
_VERSION = 2  # of the tables' content; part of their key


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Rows on disk.

    Attributes:
        parts: the rows of each split that the source itself has, or all of them under ``ALL``.
        identity: names the rows: they are the same wherever it is.
    """

    parts: Mapping[str, datasets.Dataset]
    identity: str


def read_source(data: DataSpec, *, base: Path, cache: Path, where: str) -> Source:
    """Return a source's rows, memory-mapped.

    They are parsed once; a file is parsed again when its size or its time of change is another.

    Args:
        data: the spec's ``data`` section.
        base: folder that relative paths start from.
        cache: folder for downloads and parsed rows.
        where: key path of the section, for messages.

    Raises:
        DataError: the rows cannot be had or are not in the format.
    """
    match data:
        case DatasetsData():
            parts = read_datasets(data, base=base, cache=cache, where=where)
            return Source(parts, repr([(name, *_saved(part)) for name, part in parts.items()]))
        case ArchiveData():
            facts = [data.package, data.sha256, data.member, data.format.model_dump(), data.only]
            tables = {ALL: _table(cache, facts, where, lambda: _archive(data, cache, where))}
        case FileData(path=dict(paths)):
            tables = {
                split: _files(path, data, base, cache, f"{where}.path.{split}")
                for split, path in paths.items()
            }
        case FileData(path=str() | list() as path):
            tables = {ALL: _files(path, data, base, cache, f"{where}.path")}
        case ParallelData():
            tables = {
                split: _parallel(files, data, base, cache, where)
                for split, files in _files_by_split(data).items()
            }
        case DocstringData():
            digest, read = find_docstrings(data.packages, data.min_words, where)
            tables = {ALL: _table(cache, [digest], where, lambda: iter([read()]))}
        case _:
            raise AssertionError(data)
    identity = repr([(split, table._fingerprint) for split, table in tables.items()])
    return Source(tables, identity)


def _saved(part: datasets.Dataset) -> tuple[str, list[tuple[str, int, int]]]:
    """Return what identifies a data set: a saved folder keeps its fingerprint when it is written anew."""
    return part._fingerprint, [_stat(Path(file["filename"])) for file in part.cache_files]


def _table(
    cache: Path, facts: list[Any], where: str, read: Callable[[], Iterator[Columns]]
) -> datasets.Dataset:
    path = table_path(cache, "rows", _VERSION, *facts)
    try:
        return dataset_of(path, stored_table(path, lambda: map(record_batch, read())))
    except pa.ArrowException as error:
        raise DataError(Problem(where, str(error))) from None


def _archive(data: ArchiveData, cache: Path, where: str) -> Iterator[Columns]:
    archive = fetch_archive(data.package, data.sha256, cache=cache, where=where)
    members = [data.member] if isinstance(data.member, str) else data.member
    contents = {}
    for member in members:
        outer = "".join(f"{step}!" for step in member.split("!")[:-1])
        for name, content in read_members(archive, member, where=f"{where}.member"):
            contents[f"{data.package}!{outer}{name}"] = (name, _in_memory(content))
    whole = {label: read_batches(c, data.format, where=name) for label, (name, c) in contents.items()}
    return _only(_join(whole), data.only, where)


def _in_memory(content: bytes) -> Opener:
    return lambda: io.BytesIO(content)


def _files(path: str | list[str], data: FileData, base: Path, cache: Path, where: str) -> datasets.Dataset:
    patterns = [path] if isinstance(path, str) else path
    found = dict.fromkeys(file for pattern in patterns for file in _matching(pattern, base, where))
    facts = [data.format.model_dump(), [_stat(file) for file in found], data.only]
    section = where.partition(".path")[0]

    def read() -> Iterator[Columns]:
        return _only(_join({str(f): _rows_of(f, data.format) for f in found}), data.only, section)

    return _table(cache, facts, section, read)


def _only(batches: Iterator[Columns], only: Mapping[str, str | list[str]], where: str) -> Iterator[Columns]:
    """Leave out rows in which a named column has none of its values."""
    wanted = {name: {values} if isinstance(values, str) else set(values) for name, values in only.items()}
    known: dict[str, None] = {}
    for batch in batches:
        known |= dict.fromkeys(batch)
        lacking = [None] * len(next(iter(batch.values()), ()))
        rows = zip(*(batch.get(name, lacking) for name in wanted), strict=True)
        kept = [all(str(v) in values for v, values in zip(row, wanted.values(), strict=True)) for row in rows]
        yield {n: list(compress(values, kept)) for n, values in batch.items()} if wanted else batch
    for name in wanted:
        if name not in known:
            raise DataError(Problem(f"{where}.only", f"no column {name!r}{suggest(name, known)}"))


def _files_by_split(data: ParallelData) -> dict[str, dict[str, str]]:
    by_column = {c: p if isinstance(p, dict) else {ALL: p} for c, p in data.columns.items()}
    splits = next(iter(by_column.values()))
    return {str(split): {c: files[split] for c, files in by_column.items()} for split in splits}  # type: ignore[index]


def _parallel(
    files: Mapping[str, str], data: ParallelData, base: Path, cache: Path, where: str
) -> datasets.Dataset:
    found = {c: _one_file(path, base, f"{where}.columns.{c}") for c, path in files.items()}
    facts = [
        "parallel",
        data.encoding,
        sorted(data.words),
        [(column, _stat(file)) for column, file in found.items()],
    ]
    contents = {c: (str(file), lambda file=file: _opened(file)) for c, file in found.items()}
    names = ", ".join(map(str, found.values()))
    return _table(
        cache, facts, where, lambda: _unpacked(read_parallel(contents, data.encoding, data.words), names)
    )


def _one_file(path: str, base: Path, where: str) -> Path:
    file = base / Path(path).expanduser()
    if not file.is_file():
        raise DataError(Problem(where, f"no such file: {file.resolve()}"))
    return file


def _stat(file: Path) -> tuple[str, int, int]:
    facts = file.stat()
    return str(file.resolve()), facts.st_size, facts.st_mtime_ns


def _matching(pattern: str, base: Path, where: str) -> list[Path]:
    whole = base / Path(pattern).expanduser()
    if whole.is_file():  # a name may hold the characters of a glob
        return [whole]
    found = sorted(file for name in glob.glob(str(whole), recursive=True) if (file := Path(name)).is_file())  # noqa: PTH207 (absolute patterns)
    if not found:
        raise DataError(Problem(where, f"no file matches {pattern!r} in {base.resolve()}"))
    return found


def _rows_of(file: Path, form: Format) -> Iterator[Columns]:
    return _unpacked(read_batches(lambda: _opened(file), form, where=str(file)), str(file))


def _unpacked(batches: Iterator[Columns], where: str) -> Iterator[Columns]:
    try:
        yield from batches
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(Problem(where, f"not a gzip file: {error}")) from None


def _opened(file: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file)) if file.suffix == ".gz" else file.open("rb")


def _join(parts: Mapping[str, Iterator[Columns]]) -> Iterator[Columns]:
    """Put files one after the other; all must have the columns of the first."""
    first: tuple[str, dict[str, None]] | None = None
    for name, batches in parts.items():
        columns: dict[str, None] = {}
        for batch in batches:
            columns |= dict.fromkeys(batch)
            yield batch
        first = first or (name, columns)
        if columns.keys() != first[1].keys():
            what = f"columns {', '.join(columns)}; {first[0]} has {', '.join(first[1])}"
            raise DataError(Problem(name, what))
