"""The model folder: ``encoder/`` that ``transformers`` loads, ``heads/<name>/`` as safetensors and JSON.

An adapter is merged into ``encoder/``; for itself it is in ``adapter/``, which ``peft`` loads. One of a
head's own is merged into nothing, and is in ``heads/<name>/adapter/``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sslm_platform.errors import Problem, RunError
from sslm_platform.files import atomic_folder, check_space, content_digest, sha256_of, write_json, write_text
from sslm_platform.model.adapter import is_adapted, is_per_task, save_adapter
from sslm_platform.model.task_adapter import (
    read_task_adapter,
    save_task_adapter,
    take_adapter,
    without_adapter,
)

PREFIX = "backbone."
ADAPTER = "adapter"  # folder beside the encoder's
TOKENIZER = "tokenizer.json"
DIGESTS = "digests.json"  # SHA-256 of each file of weights


class HeadInfo(BaseModel):
    """What is needed to build a saved head again.

    ``tokenizer`` is the content of the head's own, empty where it has none; it has a file of its own.
    ``facts`` is what the head says of itself, JSON content, to be built without what it was made of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any]
    labels: tuple[str, ...]
    tasks: tuple[str, ...]
    distribution: str
    version: str
    tokenizer: str = Field(default="", exclude=True)
    facts: dict[str, Any] = {}


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
    adapted = backbone
    with atomic_folder(folder) as aside:
        if is_adapted(backbone):
            backbone, weights = _plain(aside, backbone, weights)
        backbone.save_pretrained(
            aside / "encoder",
            state_dict=weights,
            max_shard_size=max_shard_size,
            save_original_format=False,  # an old checkpoint's names (gamma, beta) are not the modules' own
        )
        _call_fp32(aside / "encoder" / "config.json")
        tokenizer.save_pretrained(aside / "encoder")
        for name, (info, state) in heads.items():
            head = aside / "heads" / name
            head.mkdir(parents=True)
            state, adapter = take_adapter(state)
            save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, head / "head.safetensors")
            if adapter:
                save_task_adapter(head / ADAPTER, adapted, adapter)
            write_json(head / "head.json", info.model_dump(mode="json"))
            if info.tokenizer:
                write_text(head / TOKENIZER, info.tokenizer)
        if facts is not None:
            write_json(aside / "model.json", facts)
        files = sorted(aside.rglob("*.safetensors"))
        write_json(aside / DIGESTS, {file.relative_to(aside).as_posix(): sha256_of(file) for file in files})


def _call_fp32(file: Path) -> None:
    """Let a configuration name the type of the weights that are saved, and not that of a bf16 module."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if content.get("dtype", "float32") != "float32":
        write_json(file, content | {"dtype": "float32"})


def check_model(folder: Path) -> None:
    """Compare a model folder's weights with their checksums, where it has some.

    Raises:
        RunError: a file is missing or damaged.
    """
    try:
        digests = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return  # written by an earlier version
    except ValueError as error:
        raise RunError(Problem(str(folder / DIGESTS), f"is damaged: {error}")) from None
    for name, expected in digests.items():
        file = folder / name
        if not file.exists():
            raise RunError(Problem(str(file), "is missing"))
        if content_digest(file) != expected:
            raise RunError(Problem(str(file), "is damaged: its checksum differs"))


def _plain(folder: Path, backbone: Any, weights: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """Return an adapted backbone and its weights as ``transformers`` loads them; write a shared adapter."""
    if is_per_task(backbone):
        return without_adapter(backbone, weights)
    return save_adapter(folder / ADAPTER, backbone, weights)


def read_heads(folder: Path) -> dict[str, tuple[HeadInfo, dict[str, Tensor]]]:
    """Read every head below a model folder, once its weights have proved whole.

    Raises:
        RunError: something is missing or damaged.
    """
    check_model(folder)
    found = {}
    for file in sorted((folder / "heads").glob("*/head.json")):
        try:
            info = HeadInfo.model_validate(json.loads(file.read_text(encoding="utf-8")))
            own = file.with_name(TOKENIZER)
            if own.exists():
                info = info.model_copy(update={"tokenizer": own.read_text(encoding="utf-8")})
            state = load_file(file.with_name("head.safetensors"))
            found[file.parent.name] = (info, state | read_task_adapter(file.with_name(ADAPTER)))
        except (OSError, ValueError, ValidationError, SafetensorError) as error:
            raise RunError(Problem(str(file), f"not a saved head: {error}")) from None
    return found
