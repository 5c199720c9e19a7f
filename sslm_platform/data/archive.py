"""Read named members of (nested) tar and zip archives, in memory: nothing is unpacked to disk."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from sslm_platform.errors import DataError, Problem, suggest

MAX_MEMBER_BYTES = 1 << 30
MAX_MEMBERS = 100_000
_MAX_DEPTH = 4

_Damaged = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError)


def read_members(archive: Path, member: str, *, where: str) -> list[tuple[str, bytes]]:
    """Return (name, content) of every member that matches, in order of name.

    Args:
        archive: a tar (plain, gz, bz2, xz) or zip file.
        member: its path inside; ``outer.tar.gz!inner/path`` goes into an archive inside. The last part of the
            path may be a glob.
        where: key path for messages.

    Raises:
        DataError: no such member, a path that leaves the archive, a link, or more than ``MAX_MEMBER_BYTES``.
    """
    steps = member.split("!")
    if len(steps) > _MAX_DEPTH:
        raise DataError(Problem(where, f"{member!r} goes through more than {_MAX_DEPTH} archives"))
    for step in steps:
        path = PurePosixPath(step)
        if not step or path.is_absolute() or ".." in path.parts:
            raise DataError(Problem(where, f"{member!r} is not a path inside an archive"))
    name = archive.name
    with archive.open("rb") as stream:
        opened: IO[bytes] = stream
        for step in steps[:-1]:
            found = _read(opened, name, step, where)
            if len(found) != 1:
                raise DataError(Problem(where, f"{step!r} must name one archive; it matches {len(found)}"))
            name, opened = found[0][0], io.BytesIO(found[0][1])
        return _read(opened, name, steps[-1], where)


def _read(stream: IO[bytes], name: str, pattern: str, where: str) -> list[tuple[str, bytes]]:
    try:
        with _open(stream, name, where) as (members, read):
            if len(members) > MAX_MEMBERS:
                raise DataError(Problem(where, f"{name} has more than {MAX_MEMBERS} members"))
            matching = sorted(m for m in members if _matches(m, pattern))
            if not matching:
                raise DataError(
                    Problem(where, f"no member {pattern!r} in {name}{_nearest(pattern, members)}")
                )
            return [(m, _bounded(read(m), m, where)) for m in matching]
    except _Damaged as error:
        raise DataError(Problem(where, f"{name} is damaged or no archive: {error}")) from None


_Opened = tuple[list[str], Callable[[str], IO[bytes]]]


@contextmanager
def _open(stream: IO[bytes], name: str, where: str) -> Iterator[_Opened]:
    if not tarfile.is_tarfile(stream):  # asked first: a tar that ends with a zip looks like a zip
        with zipfile.ZipFile(stream) as bundle:
            yield [info.filename for info in bundle.infolist() if not info.is_dir()], bundle.open
        return
    stream.seek(0)
    with tarfile.open(fileobj=stream, mode="r:*") as tape:
        infos = {info.name.removeprefix("./"): info for info in tape.getmembers() if not info.isdir()}

        def read(member: str) -> IO[bytes]:
            content = tape.extractfile(infos[member]) if infos[member].isreg() else None
            if content is None:
                raise DataError(Problem(where, f"{member!r} in {name} is a link or device; expected a file"))
            return content

        yield list(infos), read


def _bounded(stream: IO[bytes], member: str, where: str) -> bytes:
    with stream:
        content = stream.read(MAX_MEMBER_BYTES + 1)
    if len(content) > MAX_MEMBER_BYTES:
        raise DataError(Problem(where, f"{member!r} exceeds {MAX_MEMBER_BYTES} bytes"))
    return content


def _matches(member: str, pattern: str) -> bool:
    wanted, found = PurePosixPath(pattern), PurePosixPath(member)
    if found.is_absolute() or ".." in found.parts:
        return False
    return wanted.parent == found.parent and (
        wanted.name == found.name or fnmatchcase(found.name, wanted.name)
    )


def _nearest(pattern: str, members: list[str]) -> str:
    close = suggest(pattern, members)
    shown = sorted(members)[:10]
    more = f" and {len(members) - len(shown)} more" if len(members) > len(shown) else ""
    return close if close.startswith("; did") else f"; it has {', '.join(shown)}{more}"
