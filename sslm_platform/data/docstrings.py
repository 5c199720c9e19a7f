"""Docstrings of installed packages, read from their source without importing them."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sslm_platform.data.prose import prose
from sslm_platform.errors import DataError, Problem

COLUMNS = ("text", "summary", "body", "module", "name")
_VERSION = 2  # of the extraction; part of the cache's key
_LEFT_OUT = frozenset({"test", "tests", "testing", "_vendor", "vendor", "third_party", "externals"})
_Documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

logger = logging.getLogger(__name__)


def find_docstrings(
    packages: list[str], min_words: int, where: str
) -> tuple[str, Callable[[], dict[str, list[Any]]]]:
    """Return a digest of the files that hold the docstrings, and what reads them.

    The digest is of the files' names, sizes and times of change. What is read are columns ``text`` (prose),
    ``summary`` (its first paragraph), ``body`` (the others), ``module`` and ``name``, in order of package,
    file and line; a text that occurs twice is kept once. Tests and vendored code are left out.

    Raises:
        DataError: a package is not installed, or has no source.
    """
    files = [(module, path) for package in packages for module, path in _source_files(package, where)]
    return _digest(files, min_words), lambda: _extract(files, min_words)


def _source_files(package: str, where: str) -> list[tuple[str, Path]]:
    top, *inner = package.split(".")
    spec = importlib.util.find_spec(top)  # of a top-level name: imports nothing
    if spec is None:
        raise DataError(Problem(f"{where}.packages", f"package {top!r} is not installed"))
    roots = [Path(root).joinpath(*inner) for root in spec.submodule_search_locations or ()]
    files = [(package, root, path) for root in roots for path in sorted(root.rglob("*.py"))]
    found = [(_module(p, path.relative_to(root)), path) for p, root, path in files if _is_kept(path, root)]
    if not roots and spec.origin and spec.origin.endswith(".py"):
        found = [(package, Path(spec.origin))]
    if not found:
        raise DataError(Problem(f"{where}.packages", f"package {package!r} has no Python source"))
    return found


def _is_kept(path: Path, root: Path) -> bool:
    return _LEFT_OUT.isdisjoint(path.relative_to(root).parts)


def _module(package: str, relative: Path) -> str:
    parts = [*relative.parent.parts, *([relative.stem] if relative.stem != "__init__" else [])]
    return ".".join([package, *parts])


def _digest(files: list[tuple[str, Path]], min_words: int) -> str:
    facts = [(module, (stat := path.stat()).st_size, stat.st_mtime_ns) for module, path in files]
    return hashlib.sha256(repr((_VERSION, min_words, facts)).encode()).hexdigest()[:32]


def _extract(files: list[tuple[str, Path]], min_words: int) -> dict[str, list[Any]]:
    logger.info("reading the docstrings of %d files", len(files))
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    seen: set[str] = set()
    for module, path in files:
        for name, docstring in _docstrings(path):
            paragraphs = prose(docstring)
            text = " ".join(paragraphs)
            if len(text.split()) < min_words or text in seen:
                continue
            seen.add(text)
            row = (text, paragraphs[0], " ".join(paragraphs[1:]), module, name)
            for column, value in zip(COLUMNS, row, strict=True):
                columns[column].append(value)
    return columns


def _docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (qualified name, empty for the module; docstring) in order of line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stranger's invalid escape sequences
            found = list(_walk(ast.parse(path.read_bytes()), ""))
    except (SyntaxError, ValueError, RecursionError) as error:
        # Templates and test fixtures of other Python versions, and generated code that is nested too deep.
        logger.debug("left out %s: %s", path, error)
        return
    yield from found


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, _Documented) and (docstring := ast.get_docstring(node)):
        yield name, docstring
    for child in ast.iter_child_nodes(node):
        inner = getattr(child, "name", None) if isinstance(child, _Documented) else None
        yield from _walk(child, f"{name}.{inner}".lstrip(".") if inner else name)
