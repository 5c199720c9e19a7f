"""Atomic writes: a reader sees the old file or folder or the new one, never a part."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from sslm_platform.errors import Problem, RunError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
OTHER_KIND = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


def aside_of(path: Path) -> Path:
    """Return where to write what is then renamed onto ``path``: next to it, and nobody else's.

    A process's number would not do: on a shared folder, every container's first process has the same one.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a path to write aside; on success flush it to disk and rename it onto ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    try:
        yield aside
        flush(aside)
        aside.replace(path)
        flush(path.parent)
    except (OSError, SafetensorError) as error:
        raise _named(error, path) from None
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path, previous: Path | None = None) -> Iterator[Path]:
    """Give a folder to write aside; on success flush all of it and put it in ``folder``'s place.

    Args:
        folder: what is written. A process that is killed between two renames leaves no folder of this name,
            and the old one as ``previous``.
        previous: where the old folder stays; None: it is removed.
    """
    aside, old = aside_of(folder), previous or aside_of(folder)
    if folder.exists():  # else the old one may be all that there is
        shutil.rmtree(old, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        for path in sorted(aside.rglob("*")):
            flush(path)
        flush(aside)
        if folder.exists():
            folder.replace(old)
        aside.replace(folder)
        flush(folder.parent)
        if previous is None:
            shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise _named(error, folder) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _named(error: OSError | SafetensorError, path: Path) -> Exception:
    """Return the error with the path that was to be written: a full disk names none.

    safetensors says the system's error in words only.
    """
    if isinstance(error, SafetensorError):
        number = re.search(r"os error (\d+)", str(error))
        return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error
    known = error.filename or error.errno is None
    return error if known else OSError(error.errno, error.strerror, str(path))


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_space(folder: Path, num_bytes: int) -> None:
    """Raise unless the disk of a folder, which need not exist, has room for so many bytes.

    Raises:
        RunError: says how much is needed and free.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if num_bytes > free:
        raise RunError(
            Problem(
                str(folder),
                f"needs {_size(num_bytes)}, and {_size(free)} of the disk are free; make room, and the same"
                " command goes on",
            )
        )


def _size(num_bytes: int) -> str:
    size, units = float(num_bytes), ["B", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_once(path: Path, text: str) -> str:
    """Write text unless the file is there; return what it holds: the first of several processes wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    try:
        write_text(aside, text)
        os.link(aside, path)  # unlike a rename, this fails where the file exists
    except FileExistsError:
        pass
    finally:
        aside.unlink(missing_ok=True)
    return path.read_text(encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, with sorted keys so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content; read again when its size or time of change is another."""
    facts = path.stat()
    return _digest(path, facts.st_size, facts.st_mtime_ns)


@lru_cache
def _digest(path: Path, _size: int, _changed: int) -> str:
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
