"""The model folder: ``encoder/`` that ``transformers`` loads, ``heads/<name>/`` as safetensors and JSON.

An adapter is merged into ``encoder/``; for itself it is in ``adapter/``, which ``peft`` loads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sslm_platform.errors import Problem, RunError
from sslm_platform.files import atomic_folder, check_space, write_json, write_text
from sslm_platform.model.adapter import is_adapted, save_adapter

PREFIX = "backbone."
ADAPTER = "adapter"  # folder beside the encoder's
TOKENIZER = "tokenizer.json"


class HeadInfo(BaseModel):
    """What is needed to build a saved head again.

    ``tokenizer`` is the content of the head's own, empty where it has none; it has a file of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any]
    labels: tuple[str, ...]
    tasks: tuple[str, ...]
    distribution: str
    version: str
    tokenizer: str = Field(default="", exclude=True)


def save_model(
    folder: Path,
    backbone: Any,
    tokenizer: Any,
    encoder_state: Mapping[str, Tensor],
    heads: Mapping[str, tuple[HeadInfo, Mapping[str, Tensor]]],
    facts: Mapping[str, Any] | None = None,
    max_shard_size: str = "5GB",
) -> None:
    """Write a whole model folder aside and rename it: a reader never sees a part.

    Args:
        folder: what is written; replaced if it exists.
        backbone: whose configuration is saved.
        tokenizer: saved with the encoder.
        encoder_state: the encoder's weights, named as in :class:`~sslm_platform.model.encoder.SharedEncoder`.
        heads: name to facts and weights.
        facts: content of ``model.json``, which says what the model is.
        max_shard_size: weights above this size are several files, with an index.

    Raises:
        RunError: the disk has no room.
    """
    states = [encoder_state, *(state for _, state in heads.values())]
    check_space(folder, sum(tensor.nbytes for state in states for tensor in state.values()))
    weights = {name.removeprefix(PREFIX): value for name, value in encoder_state.items()}
    with atomic_folder(folder) as aside:
        if is_adapted(backbone):
            backbone, weights = save_adapter(aside / ADAPTER, backbone, weights)
        backbone.save_pretrained(
            aside / "encoder",
            state_dict=weights,
            max_shard_size=max_shard_size,
            save_original_format=False,  # an old checkpoint's names (gamma, beta) are not the modules' own
        )
        tokenizer.save_pretrained(aside / "encoder")
        for name, (info, state) in heads.items():
            head = aside / "heads" / name
            head.mkdir(parents=True)
            save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, head / "head.safetensors")
            write_json(head / "head.json", info.model_dump(mode="json"))
            if info.tokenizer:
                write_text(head / TOKENIZER, info.tokenizer)
        if facts is not None:
            write_json(aside / "model.json", facts)


def read_heads(folder: Path) -> dict[str, tuple[HeadInfo, dict[str, Tensor]]]:
    """Read every head below a model folder."""
    found = {}
    for file in sorted((folder / "heads").glob("*/head.json")):
        try:
            info = HeadInfo.model_validate(json.loads(file.read_text(encoding="utf-8")))
            own = file.with_name(TOKENIZER)
            if own.exists():
                info = info.model_copy(update={"tokenizer": own.read_text(encoding="utf-8")})
            found[file.parent.name] = (info, load_file(file.with_name("head.safetensors")))
        except (OSError, ValueError, ValidationError) as error:
            raise RunError(Problem(str(file), f"not a saved head: {error}")) from None
    return found
