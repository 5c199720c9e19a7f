"""An encoder in two: its trunk, and the slice after it (the last layer, and the norm that may follow).

Both share their modules with the encoder, which stays whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from sslm_platform.errors import Problem, SpecError
from sslm_platform.model.tap import Tap, TraceOfLast, evaluating, last_layer, shifted, trace_last

EMBEDDING = "embedding_VD"


class Trunk(nn.Module):
    """Tokens to the last layer's arguments; beside hidden_BLD these may be masks, position biases, …"""

    def __init__(self, backbone: Any, tap: Tap, takes_segments: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.takes_segments = takes_segments
        self._tap = (tap,)  # it is a module of the backbone already

    def forward(
        self,
        input_ids_BL: Tensor,
        mask_BL: Tensor,
        segment_BL: Tensor | None = None,
        tied: bool = False,
        shift_BLE: Tensor | None = None,
    ) -> dict[str, Any]:
        """Return the slice's inputs; with ``tied`` the embedding matrix is one of them."""
        extra = {"token_type_ids": segment_BL} if self.takes_segments and segment_BL is not None else {}
        with shifted(self.backbone, shift_BLE):
            self.backbone(input_ids=input_ids_BL, attention_mask=mask_BL, **extra)
        inputs = self._tap[0].take()
        if tied:
            weight_VD = self.backbone.get_input_embeddings().weight
            inputs[EMBEDDING] = weight_VD.view_as(weight_VD)
        return inputs


class Slice(nn.Module):
    """A trunk's outputs to states and logits. Parameters are named as in the encoder's ``state_dict``."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for path, module in modules.items():
            _place(self, path, module)
        self._chain = tuple(modules.values())

    def forward(
        self, inputs: Mapping[str, Any], transform: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return hidden_BLD and, with ``transform`` (hidden_BLD to states_ND), logits_NV."""
        layer, *rest = self._chain
        named = {name: value for name, value in inputs.items() if name != EMBEDDING}
        positional = [named.pop(name) for name in list(named) if name.isdigit()]
        output = layer(*positional, **named)
        hidden_BLD = output[0] if isinstance(output, tuple) else output
        for module in rest:
            hidden_BLD = module(hidden_BLD)
        if transform is None:
            return hidden_BLD, None
        return hidden_BLD, linear(transform(hidden_BLD), inputs[EMBEDDING])


def split_encoder(backbone: Any, takes_segments: bool, prefix: str) -> tuple[Trunk, Slice]:
    """Split a backbone, and try whether trunk and slice together do what the whole does.

    Args:
        backbone: a ``transformers`` encoder.
        takes_segments: whether it has segment embeddings.
        prefix: of the backbone's names in the slice.

    Raises:
        SpecError: the encoder does not end in a layer of its own.
    """
    path = last_layer(backbone)
    with torch.enable_grad():
        traced = trace_last(backbone, path)
        names = [path, *traced.after]
        parts = {name: backbone.get_submodule(name) for name in names}
        tap = Tap(parts[path], traced.num_outputs)
        replaced = {path: tap, **{name: nn.Identity() for name in traced.after}}
        trunk = Trunk(_with(backbone, replaced), tap, takes_segments)
        top = Slice({f"{prefix}{name}": part for name, part in parts.items()})
        _check(backbone, trunk, top, traced)
    return trunk, top


def _check(backbone: Any, trunk: Trunk, top: Slice, traced: TraceOfLast) -> None:
    what = None
    if {id(p) for p in trunk.parameters()} & {id(p) for p in top.parameters()}:
        what = "shares its last layer's parameters with other layers"
    else:
        with evaluating(trunk, top):
            found_BLD, _ = top(trunk(traced.input_ids_BL, traced.mask_BL))
        if found_BLD.shape != traced.hidden_BLD.shape or not torch.allclose(
            found_BLD, traced.hidden_BLD, rtol=1e-5, atol=1e-5
        ):
            what = "is not its last layer after the others"
    if what is not None:
        raise SpecError(
            Problem(
                "balancer.scope", f"last_layer: {type(backbone).__name__} {what}; set balancer.scope: all"
            )
        )


def _with(root: nn.Module, replaced: Mapping[str, nn.Module]) -> Any:
    """Return a module that shares all with ``root`` but the modules at these paths and those above them."""
    if "" in replaced:
        return replaced[""]
    clone = copy.copy(root)
    # hooks and parameters that are added to one of the two are not the other's
    vars(clone).update({k: copy.copy(v) for k, v in vars(root).items() if isinstance(v, dict)})
    for child in {path.partition(".")[0] for path in replaced}:
        below = {
            path.partition(".")[2]: module
            for path, module in replaced.items()
            if path.partition(".")[0] == child
        }
        clone._modules[child] = _with(root.get_submodule(child), below)
    return clone


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    *above, name = path.split(".")
    for step in above:
        if step not in root._modules:
            root.add_module(step, nn.Module())
        root = root.get_submodule(step)
    root.add_module(name, module)
