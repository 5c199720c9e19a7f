"""Checkpoints: all that a killed training needs to go on as if it had never stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from sslm_platform.engine.base import Engine
from sslm_platform.engine.weights import TensorFile
from sslm_platform.errors import Problem, RunError, SslmError
from sslm_platform.files import atomic_folder, check_space, sha256_of, write_json
from sslm_platform.schedule.progress import Progress
from sslm_platform.train.resume import VERSION, previous, read_state
from sslm_platform.train.selection import Scoring

SEPARATOR = "|"  # between a head's name and its parameter's


@dataclass(frozen=True, slots=True)
class State:
    """What a checkpoint holds beside tensors. Randomness is keyed by step and needs no state."""

    step: int
    progress: Progress
    kept: tuple[Scoring, ...]
    since_best: int
    seconds: float

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> State:
        """Return the state whose fields these are."""
        kept = tuple(Scoring(*scoring) for scoring in content["kept"])
        values = {name: content[name] for name in ("step", "since_best", "seconds")}
        return cls(progress=Progress.of(content["progress"]), kept=kept, **values)


def save_checkpoint(
    folder: Path,
    content: Mapping[str, Any],
    state: State,
    engine: Engine,
    more: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Write a checkpoint aside, flush it, and put it in the last one's place, which stays as the one before.

    All ranks call.

    Args:
        folder: where the last checkpoint is.
        content: what identifies the training.
        state: where it stands.
        engine: whose weights and moments are saved.
        more: files of other tensors, of rank 0.

    Raises:
        RunError: on all ranks: it could not be written. The last one is as it was.
    """
    heads = {f"{name}{SEPARATOR}{key}": v for name, s in engine.head_states().items() for key, v in s.items()}
    tensors = {"encoder": engine.encoder_state(), "heads": heads, "optimizer": engine.optimizer_state()}
    tensors |= {name: dict(group) for name, group in (more or {}).items()}
    failure = ""
    if engine.rank == 0:
        try:
            _write(folder, tensors, {**asdict(state), "version": VERSION, "content": content})
        except (OSError, SafetensorError, RunError) as error:
            failure = str(error)
    failure = engine.all_gather_objects(failure)[0]
    if failure:
        last = "; the last one is as it was" if folder.exists() else ""
        raise RunError(Problem(f"checkpoint after step {state.step}", f"not written: {failure}{last}"))


def _write(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], content: Mapping[str, Any]) -> None:
    if folder.exists():  # else the one before it is all that there is
        shutil.rmtree(previous(folder), ignore_errors=True)
    for part in folder.parent.glob(f".{folder.name}.*.part"):  # of a process that was killed
        shutil.rmtree(part)
    check_space(folder, sum(tensor.nbytes for group in tensors.values() for tensor in group.values()))
    with atomic_folder(folder, previous(folder)) as aside:
        digests = {}
        for name, group in tensors.items():
            file = aside / f"{name}.safetensors"
            save_file({key: value.contiguous() for key, value in group.items()}, file)
            digests[file.name] = sha256_of(file)
        write_json(aside / "state.json", {**content, "digests": digests})


def remove_checkpoint(folder: Path) -> None:
    """Remove the last checkpoint and the one before."""
    for place in (folder, previous(folder)):
        shutil.rmtree(place, ignore_errors=True)


def kept_before(folder: Path) -> list[int]:
    """Return the steps whose models the checkpoint before the last counts on; none where it is damaged."""
    place = previous(folder)
    try:
        return [scoring.step for scoring in State.of(read_state(place)).kept] if place.exists() else []
    except (RunError, KeyError, TypeError, ValueError):
        return []


def load_checkpoint(
    folder: Path, engine: Engine, more: Mapping[str, Callable[[Mapping[str, Tensor]], None]] | None = None
) -> tuple[State | None, str]:
    """Restore engine and state from the last whole checkpoint. All ranks call.

    ``more`` says what takes the tensors of other files; it gets none where there is no such file.

    Returns:
        The state, None where there is no checkpoint; and why not the last one was taken, else nothing.

    Raises:
        RunError: on all ranks: there is a checkpoint, and none is whole.
    """
    found = {}
    if engine.rank == 0:
        try:
            found = _find(folder)
        except SslmError as error:
            found = {"error": str(error)}
    found = engine.all_gather_objects(found)[0]
    if "error" in found:
        raise RunError(str(found["error"]))
    if not found:
        return None, ""
    saved = folder / "heads.safetensors"
    heads = {name: TensorFile(saved, f"{name}{SEPARATOR}") for name in engine.heads}
    engine.load_weights(TensorFile(folder / "encoder.safetensors"), heads)
    engine.load_optimizer_state(TensorFile(folder / "optimizer.safetensors"))
    for name, take in (more or {}).items():
        file = folder / f"{name}.safetensors"
        take(TensorFile(file) if file.exists() else {})
    engine.barrier()  # before the files are replaced
    return State.of(found["state"]), found["damage"]


def _find(folder: Path) -> dict[str, Any]:
    """Return the last whole checkpoint's state, empty without one; it is put where the last one belongs."""
    old, damage = previous(folder), ""
    for place in (folder, old):
        if not place.exists():
            continue
        try:
            state = _whole(place)
        except RunError as error:
            damage = damage or str(error)
            continue
        if place is old:
            shutil.rmtree(folder, ignore_errors=True)
            old.replace(folder)
        return {"state": state, "damage": damage}
    if damage:
        raise RunError(
            f"{damage}; no other checkpoint is whole: bring the file back from a copy, or train from the"
            " beginning with --restart"
        )
    return {}


def _whole(folder: Path) -> dict[str, Any]:
    state = read_state(folder)
    for name, expected in state["digests"].items():
        file = folder / name
        if not file.exists():
            raise RunError(Problem(str(file), "is missing"))
        if sha256_of(file) != expected:
            raise RunError(Problem(str(file), "is damaged: its checksum differs"))
    return state
