"""YAML files and ``--set`` overrides to one validated :class:`RunSpec`, with every problem at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sslm_platform.errors import Problem, SpecError, raise_all, suggest
from sslm_platform.spec.data import LimitSpec
from sslm_platform.spec.paths import make_paths_absolute
from sslm_platform.spec.problems import problems_of
from sslm_platform.spec.schema import RunSpec

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A spec, the file it came from, for each stream the file and index where it stands, and overrides."""

    spec: RunSpec
    path: Path
    stream_origins: tuple[tuple[Path, int], ...]
    overridden: tuple[KeyPath, ...] = ()

    def where(self, *path: str | int) -> str:
        """Return ``file: key.path`` of a place in the spec."""
        return locate(self.path, self.stream_origins, path)

    def blamed(self, problem: Problem) -> Problem:
        """Return the problem; in a place that an override made, it is the override's and not the file's."""
        for key in self.overridden:
            place = self.where(*key)
            if problem.where == place or problem.where.startswith((f"{place}.", f"{place}[")):
                return Problem(f"--set {key_path(key)}{problem.where[len(place) :]}", problem.what)
        return problem

    def placed(self, problem: Problem) -> Problem:
        """Return a problem of the section ``encoder`` with the spec's name: who loads a model has none."""
        section, dot, key = problem.where.partition(".")
        if section != "encoder":
            return problem
        return self.blamed(Problem(f"{self.where(section)}{dot}{key}", problem.what))


def load_run_spec(path: str | Path, overrides: Sequence[str] = ()) -> LoadedSpec:
    """Read a run spec, its includes and overrides (``key.path=value``).

    Raises:
        SpecError: with one problem for each mistake found, in all files.
    """
    path = Path(path)
    content = _read_yaml(path)
    streams, origins = _collect_streams(path, content)
    content["streams"] = streams
    content["include"] = []
    overridden = tuple(_override(content, text) for text in overrides)
    make_paths_absolute(content, path, origins, lambda loc: _where(path, origins, overridden, loc))
    spec = validate(RunSpec, content, lambda loc: _where(path, origins, overridden, loc))
    return LoadedSpec(_with_limits(spec), path, tuple(origins), overridden)


def _with_limits(spec: RunSpec) -> RunSpec:
    """Give each stream the smaller of its own limits and the run's."""
    streams = [
        stream.model_copy(update={"limit": stream.limit.at_most(spec.limit)}) for stream in spec.streams
    ]
    return spec.model_copy(update={"streams": streams, "limit": LimitSpec()})


def validate(kind: type[Any], content: Any, where: Any) -> Any:
    """Validate ``content``, turning pydantic's errors into ours; ``where(loc)`` names a place."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise SpecError(*problems_of(error, kind, where)) from None


def locate(path: Path, origins: Sequence[tuple[Path, int]], loc: Sequence[str | int]) -> str:
    """Return ``file: key.path``, where a stream's file and index are those it was written in."""
    if len(loc) >= 2 and loc[0] == "streams" and isinstance(loc[1], int) and loc[1] < len(origins):
        path, index = origins[loc[1]]
        loc = ("streams", index, *loc[2:])
    return f"{path}: {key_path(loc)}"


def key_path(loc: Sequence[str | int]) -> str:
    """Return ``streams[2].tasks[0].head``."""
    text = ""
    for key in loc:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def dump_spec(spec: RunSpec) -> str:
    """Return the spec as YAML that loads to the same spec."""
    return yaml.safe_dump(
        spec.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True, width=100
    )


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, which YAML would silently overwrite."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    keys: list[Any] = []
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":  # `<<`: a key beside it may override a merged one
            continue
        key = loader.construct_object(key_node, deep=True)
        if key in keys:
            raise yaml.MarkedYAMLError(
                problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
            )
        keys.append(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        near = suggest(path.name, [p.name for p in path.parent.glob("*.y*ml")])
        raise SpecError(Problem(str(path), f"no such spec file{near}")) from None
    except UnicodeDecodeError as error:
        raise SpecError(Problem(str(path), f"not UTF-8 text: {error}")) from None
    try:
        content = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecError(Problem(f"{path}{line}", error.problem or "not valid YAML")) from None
    except yaml.YAMLError as error:
        raise SpecError(Problem(str(path), f"not valid YAML: {error}")) from None
    except ValueError as error:  # of a date or a number that there is not
        raise SpecError(Problem(str(path), f"not valid YAML: {error}")) from None
    if not isinstance(content, dict):
        raise SpecError(Problem(str(path), "a spec is a mapping of keys to values"))
    return {key: _unshared(value, path) for key, value in content.items()}


def _unshared(value: Any, path: Path, inside: tuple[int, ...] = ()) -> Any:
    """Copy what aliases share, so that an override of one place changes no other."""
    if id(value) in inside:
        raise SpecError(Problem(str(path), "an alias refers to what it is in"))
    within = (*inside, id(value))
    if isinstance(value, dict):
        return {key: _unshared(one, path, within) for key, one in value.items()}
    return [_unshared(one, path, within) for one in value] if isinstance(value, list) else value


def _collect_streams(path: Path, content: dict[str, Any]) -> tuple[list[Any], list[tuple[Path, int]]]:
    """Join the file's own streams with those of its includes."""
    problems: list[Problem] = []
    streams: list[Any] = []
    origins: list[tuple[Path, int]] = []

    def add(file: Path, found: Any) -> None:
        if not isinstance(found, list):
            problems.append(Problem(f"{file}: streams", "must be a list"))
            return
        streams.extend(found)
        origins.extend((file, index) for index in range(len(found)))

    add(path, content.get("streams") or [])
    includes = content.get("include") or []
    if not (isinstance(includes, list) and all(isinstance(i, str) for i in includes)):
        raise SpecError(Problem(f"{path}: include", "must be a list of file names"))
    for index, name in enumerate(includes):
        file = path.parent / name
        if not file.is_file():
            problems.append(Problem(f"{path}: include[{index}]", f"no such file: {file}"))
            continue
        included = _read_yaml(file)
        extra = sorted(map(str, set(included) - {"streams"}))
        problems += [Problem(f"{file}: {key}", "an included file holds only `streams`") for key in extra]
        add(file, included.get("streams") or [])
    raise_all(SpecError, problems)
    return streams, origins


def _override(content: dict[str, Any], text: str) -> KeyPath:
    """Set one ``key.path=value``, where list items are named by index or by their ``name``.

    Returns:
        The path of what the override made: of a section, where the file has none.
    """
    key, sep, raw = text.partition("=")
    where = f"--set {text}"
    if not sep or not key:
        raise SpecError(Problem(where, "expected key.path=value"))
    try:
        value = yaml.safe_load(raw)
    except (yaml.YAMLError, ValueError):
        raise SpecError(Problem(where, "the value is not valid YAML")) from None
    if key in ("include", "streams"):
        raise SpecError(Problem(where, "cannot be replaced; set keys of one stream: streams.NAME.KEY=VALUE"))
    *parents, last = key.split(".")
    node: Any = content
    loc: list[str | int] = []
    made: KeyPath | None = None
    for part in parents:
        step = _step(node, part, where)
        loc.append(step)
        if isinstance(node, dict) and not isinstance(node.get(step), dict | list):
            node[step] = {}
            made = made or tuple(loc)
        node = node[step]
    step = _step(node, last, where)
    node[step] = value
    return made or (*loc, step)


def _step(node: Any, part: str, where: str) -> str | int:
    if isinstance(node, dict):
        return part
    if not isinstance(node, list):
        raise SpecError(Problem(where, f"{node!r} has no item {part!r}"))
    names = [item.get("name", "") if isinstance(item, dict) else "" for item in node]
    if part.isdigit() and int(part) < len(node):
        return int(part)
    if part in names:
        return names.index(part)
    raise SpecError(Problem(where, f"no item {part!r}{suggest(part, [str(n) for n in names if n])}"))


def _where(
    path: Path, origins: Sequence[tuple[Path, int]], overridden: Sequence[KeyPath], loc: KeyPath
) -> str:
    """Name a place; one that an override made is the override's fault, not the file's."""
    for key in overridden:
        if loc[: len(key)] == key:
            return f"--set {key_path(loc)}"
    return locate(path, origins, loc)


def validated_options(kind: type[BaseModel], options: Mapping[str, Any], where: str) -> Any:
    """Validate a component's options; ``where`` is the place of its ``options`` key."""
    return validate(kind, dict(options), lambda loc: where + "".join(_suffix(key) for key in loc))


def _suffix(key: str | int) -> str:
    return f"[{key}]" if isinstance(key, int) else f".{key}"
