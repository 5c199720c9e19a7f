"""Checkpoints: all that a killed training needs to go on as if it had never stopped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from sslm_platform.engine.base import Engine
from sslm_platform.errors import Problem, RunError
from sslm_platform.files import write_json
from sslm_platform.schedule.progress import Progress

VERSION = 2
TENSORS = ("encoder", "heads", "optimizer")
SEPARATOR = "|"  # between a head's name and its parameter's


@dataclass(frozen=True, slots=True)
class State:
    """What a checkpoint holds beside tensors. Randomness is keyed by step and needs no state."""

    step: int
    progress: Progress
    best: float | None
    best_step: int
    since_best: int
    seconds: float


def save_checkpoint(folder: Path, job: str, state: State, engine: Engine) -> None:
    """Write a checkpoint aside, flush it, and put it in the last one's place. All ranks call."""
    encoder, heads, optimizer = engine.encoder_state(), engine.head_states(), engine.optimizer_state()
    if engine.rank == 0:
        aside = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        flat = {f"{name}{SEPARATOR}{key}": v for name, s in heads.items() for key, v in s.items()}
        digests = {}
        for name, tensors in zip(TENSORS, (encoder, flat, optimizer), strict=True):
            file = aside / f"{name}.safetensors"
            save_file({key: value.contiguous() for key, value in tensors.items()}, file)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
                digests[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
        content = {field.name: getattr(state, field.name) for field in fields(state)}
        content |= {"version": VERSION, "job": job, "digests": digests, "progress": state.progress.content()}
        write_json(aside / "state.json", content)
        _replace(aside, folder)
    engine.barrier()


def _replace(aside: Path, folder: Path) -> None:
    """The old checkpoint goes only when the new one is complete under a name that loading looks for."""
    old = previous(folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    aside.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def previous(folder: Path) -> Path:
    """Return where the checkpoint before the last one stands while the last one takes its place."""
    return folder.with_name(f"{folder.name}.previous")


def load_checkpoint(folder: Path, job: str, engine: Engine) -> State | None:
    """Restore engine and state from the last checkpoint of this job, or return None where there is none.

    Raises:
        RunError: the checkpoint is damaged.
    """
    folder = next((f for f in (folder, previous(folder)) if (f / "state.json").exists()), folder)
    if not (folder / "state.json").exists():
        return None
    content = _read_state(folder)
    if (content["job"], content["version"]) != (job, VERSION):
        return None
    tensors = {name: load_file(folder / f"{name}.safetensors") for name in TENSORS}
    heads: dict[str, dict[str, Any]] = {name: {} for name in engine.heads}
    for name, value in tensors["heads"].items():
        head, _, key = name.partition(SEPARATOR)
        heads[head][key] = value
    engine.load_weights(tensors["encoder"], heads)
    engine.load_optimizer_state(tensors["optimizer"])
    values = {field.name: content[field.name] for field in fields(State)}
    return State(**{**values, "progress": Progress.of(values["progress"])})


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        for name, expected in content["digests"].items():
            with (folder / name).open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
                    raise RunError(Problem(str(folder / name), "is damaged: its checksum differs"))
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise RunError(Problem(str(folder), f"is not a whole checkpoint: {error}")) from None
    return content
