"""Prefix tuning (Li & Liang 2021, ACL): trained keys and values in each layer, before those of the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from sslm_platform.errors import Problem, SpecError
from sslm_platform.model.adapter import NAME
from sslm_platform.model.tap import evaluating

STD = 0.02  # of first values; an embedding's, as ``transformers`` draws it


def is_prefixed(backbone: Any) -> bool:
    """Whether a backbone's adapters are prefixes."""
    return getattr(backbone, "peft_config", {NAME: None})[NAME] is not None and (
        backbone.peft_config[NAME].peft_type == "PREFIX_TUNING"
    )


def add_prefix(backbone: Any, config: Any, seed: int) -> None:
    """Freeze a backbone and note what its prefixes are like, and begin as.

    Raises:
        SpecError: it takes no prefix.
    """
    own = backbone.config
    config.num_layers, config.num_attention_heads = own.num_hidden_layers, own.num_attention_heads
    config.token_dim, config.num_transformer_submodules = own.hidden_size, 1
    shape = (config.num_virtual_tokens, config.num_layers * 2 * config.token_dim)
    backbone.requires_grad_(False)
    backbone.peft_config = {NAME: config}
    backbone.first_prefix = (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * STD,)
    _check(backbone)


def first_values(backbone: Any) -> Tensor:
    """Return what a prefix begins as, (prefix tokens, layers * 2 * width)."""
    values: Tensor = backbone.first_prefix[0]
    return values.to(next(backbone.parameters()).device).clone()


def with_prefix(backbone: Any, inputs: Mapping[str, Any], prefix_PV: Tensor) -> Any:
    """Call a backbone whose tokens all see a prefix, (prefix tokens, layers * 2 * width), too."""
    config, size = backbone.peft_config[NAME], len(inputs["input_ids"])
    heads, width = config.num_attention_heads, config.token_dim // config.num_attention_heads
    parts = prefix_PV.view(1, len(prefix_PV), config.num_layers * 2, heads, width)
    layers = parts.expand(size, -1, -1, -1, -1).permute(2, 0, 3, 1, 4).split(2)
    mask = pad(inputs["attention_mask"].to(torch.int64), (len(prefix_PV), 0), value=1)
    mask = mask.to(inputs["attention_mask"].dtype)  # (B, L), or (B, 1, L, L) by pairs: all see the prefix
    cache = DynamicCache([(keys, values) for keys, values in layers])
    return backbone(**{**inputs, "attention_mask": mask}, past_key_values=cache)


def _check(backbone: Any) -> None:
    """Raise unless a prefix changes states, and padding does not."""
    ids_BL = torch.tensor([[1, 2, 3, 0], [1, 2, 3, 4]], device=next(backbone.parameters()).device)
    mask_BL = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]], device=ids_BL.device)
    if ids_BL.is_meta:
        return  # it has no values to try
    inputs = {"input_ids": ids_BL, "attention_mask": mask_BL}
    prefix_PV = first_values(backbone)
    what = ""
    try:
        with torch.no_grad(), evaluating(backbone):
            plain_BLD = backbone(**inputs).last_hidden_state
            found_BLD = with_prefix(backbone, inputs, prefix_PV).last_hidden_state
            shorter = {name: value[:1, :3] for name, value in inputs.items()}
            alone_BLD = with_prefix(backbone, shorter, prefix_PV).last_hidden_state
            if torch.allclose(found_BLD, plain_BLD, atol=1e-6):
                what = "its states do not depend on one"
            elif not torch.allclose(found_BLD[:1, :3], alone_BLD, atol=1e-4):
                what = "its states depend on padding then"
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        what = next(iter(str(error).strip().splitlines()), repr(error))
    if what:
        raise SpecError(
            Problem("encoder.adapter", f"{type(backbone).__name__} takes no prefix: tried on a text, {what}")
        )
