"""Atomic writes: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
        with aside.open("rb+") as stream:
            os.fsync(stream.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


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
