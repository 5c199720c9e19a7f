"""Whether a folder's training may go on: only the one that began it, else nothing in it is touched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sslm_platform.errors import Problem, RunError
from sslm_platform.train.folder import RunFolder

VERSION = 4
ABSENT = object()
# Where a spec has what a training's content has elsewhere.
IN_SPEC = {"sampler": "schedule.sampler", "precision": "engine.precision"}
DAMAGED = "bring it back from a copy, or train from the beginning with --restart"
MOST = 8  # differences that are listed


def previous(checkpoint: Path) -> Path:
    """Return where the checkpoint before the last one is."""
    return checkpoint.with_name(f"{checkpoint.name}.previous")


def check_same(folder: RunFolder, content: Mapping[str, Any]) -> None:
    """Raise unless a folder's training, finished or not, is the one that this content identifies.

    Raises:
        RunError: says by key path what differs, and what can be done.
    """
    saved = _saved(folder)
    content = json.loads(json.dumps(content))
    if saved is None or saved == content:
        return
    found = list(differences(saved, content))
    more = [Problem("", f"and {len(found) - MOST} more differences")] if len(found) > MOST else []
    raise RunError(
        *found[:MOST],
        *more,
        Problem(
            str(folder.root),
            "its training differs from this spec, data or plugins as said above; undo that, give another"
            " --out, or train from the beginning in its place with --restart",
        ),
    )


def _saved(folder: RunFolder) -> dict[str, Any] | None:
    done = read_done(folder)
    if done is not None:
        return _content(folder.done, done)
    error = None
    for place in (folder.checkpoint, previous(folder.checkpoint)):
        if place.exists():
            try:
                return _content(place, read_state(place))
            except RunError as damage:
                error = error or damage
    if error is not None:
        raise RunError(*error.problems, "no other checkpoint can be read; begin again with --restart")
    return None


def read_done(folder: RunFolder) -> dict[str, Any] | None:
    """Return what a finished training says of itself, None of one that is not finished.

    Raises:
        RunError: the file is damaged.
    """
    if not folder.done.exists():
        return None
    try:
        done = json.loads(folder.done.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(Problem(str(folder.done), f"is damaged: {error}; {DAMAGED}")) from None
    if not isinstance(done, dict) or "job" not in done:
        raise RunError(Problem(str(folder.done), f"is damaged: not what a training writes; {DAMAGED}"))
    return done


def kept_at_the_end(folder: RunFolder) -> list[int]:
    """Return the steps whose models a finished training keeps, the best first."""
    done = read_done(folder)
    return [int(step) for step, _ in done.get("kept", [])] if done else []


def _content(where: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    if state.get("version") != VERSION:
        raise RunError(
            Problem(
                str(where),
                f"of format {state.get('version', 1)}, and this version of the platform reads {VERSION}; give"
                " another --out, or train from the beginning in its place with --restart",
            )
        )
    return dict(state["content"])


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint's ``state.json``.

    Raises:
        RunError: it is damaged.
    """
    file = checkpoint / "state.json"
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(Problem(str(file), f"is damaged: {error}")) from None
    if not isinstance(state, dict) or "digests" not in state:
        raise RunError(Problem(str(file), "is damaged: not a checkpoint's state"))
    return state


def differences(before: Any, now: Any, path: str = "") -> Iterator[Problem]:
    """Yield what differs between two contents, by key path."""
    if isinstance(before, dict) and isinstance(now, dict):
        if before.get("version") != now.get("version") and before.get("name") == now.get("name"):
            then, here = (f"{c.get('distribution')} {c.get('version')}" for c in (before, now))
            yield Problem(path, f"of {then} then, of {here} now")
            before, now = ({k: v for k, v in c.items() if k != "version"} for c in (before, now))
        for key in sorted(before.keys() | now.keys()):
            place = f"{path}.{key}" if path else IN_SPEC.get(key, key)
            yield from differences(before.get(key, ABSENT), now.get(key, ABSENT), place)
    elif before != now and path.endswith(".data.rows"):
        yield Problem(path.removesuffix(".rows"), f"the data were others: rows {before} then, {now} now")
    elif before != now:
        yield Problem(path, f"{_shown(before)} then, {_shown(now)} now")


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "absent"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
