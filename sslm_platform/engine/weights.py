"""Weights as plain fp32 tensors on the CPU, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sslm_platform.engine.base import TensorDict
from sslm_platform.errors import Problem, RunError, suggest


class TensorFile(Mapping[str, Tensor]):
    """A safetensors file as a mapping; each lookup reads, so that few tensors are in memory at a time.

    Args:
        path: the file.
        prefix: only the names that start so, without it.
        added: what stands before each name then.

    Raises:
        RunError: the file is damaged.
    """

    def __init__(self, path: Path, prefix: str = "", added: str = "") -> None:
        try:
            self._file = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise RunError(Problem(str(path), f"cannot be read: {error}")) from None
        names = (name for name in self._file.keys() if name.startswith(prefix))  # noqa: SIM118  (no mapping)
        self._names = {added + name.removeprefix(prefix): name for name in names}

    def __getitem__(self, name: str) -> Tensor:
        return self._file.get_tensor(self._names[name])

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def to_host(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU; floats as fp32."""
    kind = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", kind, copy=True).contiguous()


def module_state(module: nn.Module) -> TensorDict:
    """Return a module's ``state_dict`` as copies on the CPU."""
    return {name: to_host(tensor) for name, tensor in module.state_dict().items()}


def load_module(where: str, module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Write weights into a module in place."""
    own = module.state_dict()
    check_names(where, weights, own)
    with torch.no_grad():
        for name, tensor in own.items():
            value = weights[name]
            check_shape(where, name, value, tensor.shape)
            tensor.copy_(value)


def check_names(where: str, given: Iterable[str], expected: Iterable[str]) -> None:
    """Raise unless the two sets of names are equal."""
    given, expected = set(given), set(expected)
    problems = [Problem(where, f"missing {name!r}") for name in sorted(expected - given)] + [
        Problem(where, f"unknown {name!r}{suggest(name, expected)}") for name in sorted(given - expected)
    ]
    if problems:
        raise RunError(*problems)


def check_shape(where: str, name: str, given: Tensor, expected: torch.Size) -> None:
    """Raise unless a weight has the shape that the model wants."""
    if given.shape != expected:
        raise RunError(
            Problem(f"{where}: {name}", f"shape {tuple(given.shape)}; this model's is {tuple(expected)}")
        )
