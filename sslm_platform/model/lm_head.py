"""The language-model head that a pretrained encoder's checkpoint may have beside the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslm_platform.model.backbone import locate
from sslm_platform.spec.schema import EncoderSpec

# BERT's head (dense, GELU, layer norm, the embedding matrix, bias) by the names that checkpoints give it
_LAYOUTS = (
    {
        "dense": "cls.predictions.transform.dense",
        "norm": "cls.predictions.transform.LayerNorm",
        "bias": "cls.predictions.bias",
        "projection": "cls.predictions.decoder.weight",
    },
    {
        "dense": "lm_head.dense",
        "norm": "lm_head.layer_norm",
        "bias": "lm_head.bias",
        "projection": "lm_head.decoder.weight",
    },
    {
        "dense": "vocab_transform",
        "norm": "vocab_layer_norm",
        "bias": "vocab_projector.bias",
        "projection": "vocab_projector.weight",
    },
)
_PARTS = {  # of a head: of the checkpoint, by its old and new names
    "dense.weight": ("dense", (".weight",)),
    "dense.bias": ("dense", (".bias",)),
    "norm.weight": ("norm", (".weight", ".gamma")),
    "norm.bias": ("norm", (".bias", ".beta")),
    "bias": ("bias", ("",)),
}


def pretrained_lm_head(spec: EncoderSpec, backbone: Any) -> dict[str, Tensor] | None:
    """Return the weights of the encoder's own language-model head, or None where it has none that fits.

    It fits if every part is there under a name that is known, in the backbone's sizes, with GELU, and if it
    projects onto the embedding matrix itself.

    Args:
        spec: where the encoder is from; a folder, or a hub name whose files were loaded before.
        backbone: loaded from it.
    """
    activation = getattr(backbone.config, "hidden_act", getattr(backbone.config, "activation", "gelu"))
    if spec.path is None or activation != "gelu":
        return None
    found = _named_tensors(spec.path)
    hidden = int(backbone.config.hidden_size)
    size = backbone.get_input_embeddings().num_embeddings
    shapes = {"dense.weight": (hidden, hidden), "bias": (size,)}
    for layout in _LAYOUTS:
        head = {
            name: found[layout[part] + ending]
            for name, (part, endings) in _PARTS.items()
            for ending in endings
            if layout[part] + ending in found
        }
        projection = found.get(layout["projection"])
        is_tied = projection is None or _is_embedding(projection, backbone)
        fits = all(tuple(head[name].shape) == shapes.get(name, (hidden,)) for name in head)
        if len(head) == len(_PARTS) and fits and is_tied:
            return {name: value.float() for name, value in head.items()}
    return None


def _is_embedding(projection: Tensor, backbone: Any) -> bool:
    embedding_VD = backbone.get_input_embeddings().weight.detach()
    if embedding_VD.is_meta:  # sizes alone are known
        return projection.shape == embedding_VD.shape
    return torch.equal(projection.float(), embedding_VD.float().cpu())


def _named_tensors(path: str) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that a layout names."""
    from safetensors import safe_open

    wanted = {
        layout[part] + ending
        for layout in _LAYOUTS
        for part, endings in (*_PARTS.values(), ("projection", ("",)))
        for ending in endings
    }
    found: dict[str, Tensor] = {}
    for file in _files(locate(path)):
        with safe_open(file, framework="pt") as tensors:
            found |= {name: tensors.get_tensor(name) for name in wanted & set(tensors.keys())}
    return found


def _files(folder: str) -> list[Path]:
    if Path(folder).is_dir():
        return sorted(Path(folder).glob("*.safetensors"))
    from transformers.utils.hub import cached_file

    file = cached_file(folder, "model.safetensors", _raise_exceptions_for_missing_entries=False)
    return [] if file is None else [Path(file)]
