"""An encoder's layers by name: which are frozen, and how deep each parameter is."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from sslm_platform.errors import Problem, SpecError, raise_all, suggest


def freeze(backbone: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters that a pattern names, or that are inside a module that it names.

    Raises:
        SpecError: a pattern names nothing.
    """
    problems = []
    for index, pattern in enumerate(patterns):
        named = [p for name, p in backbone.named_parameters() if _is_named(name, pattern)]
        for parameter in named:
            parameter.requires_grad_(False)
        if not named:
            problems.append(_unknown(backbone, pattern, f"encoder.freeze[{index}]"))
    raise_all(SpecError, problems)


def _is_named(parameter: str, pattern: str) -> bool:
    return fnmatchcase(parameter, pattern) or fnmatchcase(parameter, f"{pattern}.*")


def _unknown(backbone: nn.Module, pattern: str, where: str) -> Problem:
    steps = (name.split(".") for name, _ in backbone.named_parameters())
    names = {".".join(path[:end]) for path in steps for end in range(1, len(path) + 1)}
    near = suggest(pattern, names)
    if near.startswith("; known"):  # hundreds
        tops = sorted({name.partition(".")[0] for name in names})
        near = f"; at the top are {', '.join(tops)}"
    return Problem(where, f"{pattern!r} names nothing in {type(backbone).__name__}{near}")


def layer_list(backbone: nn.Module) -> tuple[str, int] | None:
    """Return the path and length of the longest list of modules of one class, the first where several are."""
    lists = {
        path: len(module)
        for path, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and len({type(m) for m in module}) == 1
    }
    return max(lists.items(), key=lambda item: item[1]) if lists else None


def layer_depths(backbone: nn.Module) -> dict[str, int]:
    """Return how many layers are above each parameter's own: 0 in the last layer and in what follows it.

    What stands before the layers (embeddings) is one layer more, below the first.

    Raises:
        SpecError: the encoder has no list of layers.
    """
    found = layer_list(backbone)
    if found is None:
        what = f"{type(backbone).__name__} has no list of layers to tell apart"
        raise SpecError(Problem("optimizer.layer_decay, optimizer.unfreeze", what))
    path, num_layers = found
    depths, depth = {}, num_layers
    for name, _ in backbone.named_parameters():
        if name.startswith(f"{path}."):
            depth = num_layers - 1 - int(name.removeprefix(f"{path}.").partition(".")[0])
        elif depth < num_layers:
            depth = 0
        depths[name] = depth
    return depths


def check_layers(backbone: Any, patterns: Sequence[str], needs_layers: bool) -> None:
    """Raise what :func:`freeze` and :func:`layer_depths` would; the backbone may have no values.

    Raises:
        SpecError: with every problem.
    """
    problems: list[Problem] = []
    checks = [lambda: freeze(backbone, patterns), *([lambda: layer_depths(backbone)] if needs_layers else [])]
    for check in checks:
        try:
            check()
        except SpecError as error:
            problems += error.problems
    raise_all(SpecError, problems)
