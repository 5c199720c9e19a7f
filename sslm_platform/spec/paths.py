"""Paths as specs write them: relative to the file that names them, with environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sslm_platform.errors import Problem, SpecError

_VARIABLE = re.compile(r"\$\{(\w+)\}")

Where = Callable[[tuple[str | int, ...]], str]
"""A place in the content to its name for messages."""


def make_paths_absolute(
    content: Mapping[str, Any], path: Path, origins: Sequence[tuple[Path, int]], where: Where
) -> None:
    """Make local paths absolute and fill in ``${NAME}``: a dumped spec means the same from anywhere.

    Raises:
        SpecError: an environment variable is not set.
    """
    encoder = content.get("encoder")
    if isinstance(encoder, dict):
        _absolute_folder(encoder, path.parent, where(("encoder", "path")))
        if isinstance(encoder.get("tokenizer"), dict):
            _absolute_folder(encoder["tokenizer"], path.parent, where(("encoder", "tokenizer", "path")))
    for index, (stream, (file, _)) in enumerate(zip(content["streams"], origins, strict=True)):
        data = stream.get("data") if isinstance(stream, dict) else None
        if isinstance(data, dict):
            _absolute_data(data, file.parent, where(("streams", index, "data")))


def _absolute_data(data: dict[str, Any], base: Path, where: str) -> None:
    match data.get("source"):
        case "files":
            data["path"] = _absolute_files(data.get("path"), base, f"{where}.path")
        case "parallel":
            data["columns"] = _absolute_files(data.get("columns"), base, f"{where}.columns")
        case "datasets":
            _absolute_folder(data, base, f"{where}.path")


def _absolute_folder(section: dict[str, Any], base: Path, where: str) -> None:
    """A name that is no folder here may be one on a hub."""
    if not isinstance(section.get("path"), str):
        return
    name = section["path"] = _filled(section["path"], where)
    if (base / name).is_dir():
        section["path"] = str((base / name).resolve())


def _absolute_files(value: Any, base: Path, where: str) -> Any:
    if isinstance(value, str):
        return str((base / Path(_filled(value, where)).expanduser()).absolute())
    if isinstance(value, list):
        return [_absolute_files(item, base, where) for item in value]
    if isinstance(value, dict):
        return {key: _absolute_files(item, base, f"{where}.{key}") for key, item in value.items()}
    return value


def _filled(path: str, where: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise SpecError(Problem(where, f"{path}: the environment variable {match[1]} is not set"))
        return os.environ[match[1]]

    return _VARIABLE.sub(value, path)
