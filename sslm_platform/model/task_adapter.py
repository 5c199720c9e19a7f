"""Adapters of single heads on an encoder that is frozen: each is trained, stepped and saved with its head.

The encoder has one adapter inside, which nothing trains: the place where a head's own is for the length of a
call. So the encoder stays as it is, whichever tasks take part, and an engine sees no parameter come or go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sslm_platform.model.adapter import FILE, NAME, PREFIX
from sslm_platform.model.prefix import first_values, is_prefixed, with_prefix

OWN = "encoder_adapter"  # a head's submodule


class TaskAdapter(nn.Module):
    """Values that a head puts into the encoder, named as ``peft`` names them in its files."""

    def call(self, backbone: Any, inputs: Mapping[str, Any]) -> Any:
        """Call a backbone with these values in it."""
        raise NotImplementedError


class InjectedAdapter(TaskAdapter):
    """Values of the adapter that an encoder has inside.

    Args:
        backbone: has an adapter, whose values these begin as.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        values = _inside(backbone)
        self._places = {path.replace(f".{NAME}", "", 1): path for path in values}
        for name, path in self._places.items():
            *above, last = name.split(".")
            module: nn.Module = self
            for step in above:
                if step not in module._modules:
                    module.add_module(step, nn.Module())
                module = module.get_submodule(step)
            module.register_parameter(last, nn.Parameter(values[path].detach().clone()))

    def in_backbone(self) -> dict[str, Tensor]:
        """Return the values by the backbone's names."""
        return {self._places[name]: value for name, value in self.named_parameters()}

    def call(self, backbone: Any, inputs: Mapping[str, Any]) -> Any:
        """Call a backbone with these values in the place of its adapter's."""
        return functional_call(backbone, self.in_backbone(), (), dict(inputs))


class PrefixAdapter(TaskAdapter):
    """Keys and values that all tokens of a text see before it, in each layer (Li & Liang 2021).

    Args:
        backbone: says how many, and what they begin as.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.prompt_embeddings = nn.Parameter(first_values(backbone))

    def call(self, backbone: Any, inputs: Mapping[str, Any]) -> Any:
        """Call a backbone with the prefix before each text."""
        return with_prefix(backbone, inputs, self.prompt_embeddings)


def adapter_of(head: Any) -> TaskAdapter | None:
    """Return a head's adapter, if it has one."""
    found = getattr(head, OWN, None)
    return found if isinstance(found, TaskAdapter) else None


def give_adapters(backbone: nn.Module, heads: Iterable[nn.Module]) -> None:
    """Give each head an adapter of its own, which begins as the one inside the backbone."""
    kind = PrefixAdapter if is_prefixed(backbone) else InjectedAdapter
    for head in heads:
        head.add_module(OWN, kind(backbone))


def wear(backbone: nn.Module, head: nn.Module) -> None:
    """Move a head's adapter into the backbone, for all who call it from here on."""
    adapter = adapter_of(head)
    assert isinstance(adapter, InjectedAdapter), "a prefix has no place inside"
    values = adapter.in_backbone()
    with torch.no_grad():
        for name, value in _inside(backbone).items():
            value.copy_(values[name])
    delattr(head, OWN)


def take_adapter(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a head's state without its adapter's, and that by ``peft``'s names; empty without one."""
    start = f"{OWN}."
    own = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
    return {name: value for name, value in state.items() if not name.startswith(start)}, own


def save_task_adapter(folder: Path, backbone: Any, values: Mapping[str, Tensor]) -> None:
    """Write what :func:`take_adapter` returned as ``peft`` does: its config, and its values."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    backbone.peft_config[NAME].save_pretrained(folder)
    start = "" if is_prefixed(backbone) else PREFIX
    named = {f"{start}{name}": value.detach().cpu().contiguous() for name, value in values.items()}
    save_file(named, folder / FILE)


def read_task_adapter(folder: Path) -> dict[str, Tensor]:
    """Return what :func:`save_task_adapter` wrote as a part of the head's state; nothing without a folder."""
    from safetensors.torch import load_file

    if not folder.is_dir():
        return {}
    return {f"{OWN}.{name.removeprefix(PREFIX)}": value for name, value in load_file(folder / FILE).items()}


def without_adapter(backbone: Any, weights: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """Return the backbone (of no values) and its weights as they were before an adapter was put in."""
    own = _inside(backbone)
    plain = {name.replace(".base_layer", "", 1): value for name, value in weights.items() if name not in own}
    with torch.device("meta"):
        return type(backbone)(backbone.config), plain


def _inside(backbone: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in backbone.named_parameters() if f".{NAME}" in name}
