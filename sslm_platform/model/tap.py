"""Where an encoder's last layer is, what it is called with, and what runs after it: found by trying."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sslm_platform.errors import Problem, SpecError
from sslm_platform.model.layers import layer_list


class Tap(nn.Module):
    """Stands in a layer's place: keeps the arguments and hands the states on as they came.

    Args:
        layer: the layer; its plain attributes are the tap's, for loops that read them.
        num_outputs: length of the tuple that the layer returns; None: it returns a tensor.
    """

    def __init__(self, layer: nn.Module, num_outputs: int | None) -> None:
        super().__init__()
        self._layer = (layer,)
        self._num_outputs = num_outputs
        self._arguments: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_layer"][0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the hidden states, in the layer's form."""
        self._arguments = named_arguments(args, kwargs)
        hidden_BLD = next(iter(self._arguments.values()))
        if self._num_outputs is None:
            return hidden_BLD
        return (hidden_BLD, *[None] * (self._num_outputs - 1))

    def take(self) -> dict[str, Any]:
        """Return the last call's arguments by name, positional ones by their number, and forget them."""
        arguments, self._arguments = self._arguments, {}
        return arguments


def named_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments in one mapping; positional ones are named by their number."""
    return {str(i): value for i, value in enumerate(args)} | dict(kwargs)


@dataclass(frozen=True, slots=True)
class TraceOfLast:
    """One small forward pass: what runs after a layer, and what comes out at the end."""

    after: tuple[str, ...]
    num_outputs: int | None
    input_ids_BL: Tensor
    mask_BL: Tensor
    hidden_BLD: Tensor


def last_layer(backbone: Any) -> str:
    """Return the path of the last module of the longest list of modules of one class.

    Raises:
        SpecError: there is no such list.
    """
    found = layer_list(backbone)
    if found is None:
        raise _refused(backbone, "has no list of layers")
    path, num_layers = found
    return f"{path}.{num_layers - 1}"


def trace_last(backbone: Any, path: str) -> TraceOfLast:
    """Run two short texts, one padded, through the whole encoder, without dropout.

    Raises:
        SpecError: the layer is not called exactly once, or in a way that cannot be repeated from outside.
    """
    device = backbone.get_input_embeddings().weight.device
    size = backbone.get_input_embeddings().num_embeddings
    input_ids_BL = torch.tensor([[2, 3, 4, 5], [4, 3, 0, 0]], device=device) % size
    mask_BL = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], device=device)
    calls: list[dict[str, Any]] = []
    outputs: list[Any] = []
    after: list[str] = []

    def called(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.append(named_arguments(args, kwargs))
        outputs.append(output)

    def follows(name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            if calls and not any(name.startswith(f"{other}.") for other in after):
                after.append(name)

        return hook

    handles = [backbone.get_submodule(path).register_forward_hook(called, with_kwargs=True)]
    for name, module in backbone.named_modules():
        # what is frozen (a pooler that no head reads) has no say in the states
        if any(p.requires_grad for p in module.parameters()) and not name.startswith(path):
            handles.append(module.register_forward_pre_hook(follows(name)))
    try:
        with evaluating(backbone):
            hidden_BLD = backbone(input_ids=input_ids_BL, attention_mask=mask_BL).last_hidden_state
    finally:
        for handle in handles:
            handle.remove()
    if len(calls) != 1 or not all(isinstance(next(iter(c.values()), None), Tensor) for c in calls):
        raise _refused(backbone, f"calls its last layer {path} {len(calls)} times in one pass")
    if any(_needs_gradient(value) for value in calls[0].values() if not isinstance(value, Tensor)):
        raise _refused(backbone, f"hands its last layer {path} tensors to train inside other values")
    num_outputs = len(outputs[0]) if isinstance(outputs[0], tuple) else None
    return TraceOfLast(tuple(after), num_outputs, input_ids_BL, mask_BL, hidden_BLD)


@contextmanager
def evaluating(*roots: nn.Module) -> Iterator[None]:
    """Run without dropout; each module's own mode comes back."""
    modes = [(module, module.training) for root in roots for module in root.modules()]
    for root in roots:
        root.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def shifted(backbone: Any, shift_BLE: Tensor | None) -> Iterator[None]:
    """Add to what the token embedding gives: to its output, since ZeRO-3 has its weights in slices."""
    if shift_BLE is None:
        yield
        return
    handle = backbone.get_input_embeddings().register_forward_hook(
        lambda module, args, output: output + shift_BLE.to(output.dtype)
    )
    try:
        yield
    finally:
        handle.remove()


def _needs_gradient(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.requires_grad
    if isinstance(value, Mapping):
        value = list(value.values())
    return isinstance(value, list | tuple) and any(_needs_gradient(item) for item in value)


def _refused(backbone: Any, what: str) -> SpecError:
    return SpecError(
        Problem("balancer.scope", f"last_layer: {type(backbone).__name__} {what}; set balancer.scope: all")
    )
