"""A world as files: texts, and the spec of a run that measures them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sslm_platform.files import write_json, write_text
from sslm_platform.testing.planted.world import SPLITS, PlantedTask, World

HERE = Path(__file__).parent
NOTED = {"name": "equal", "scope": "all", "log_gradients_every": 1, "log_affinity_every": 1}


def write_world(world: World, folder: Path, seeds: Sequence[int], *, noted: bool = False) -> Path:
    """Write a world's texts and its spec into a folder; return the spec's path.

    Args:
        world: what to write.
        folder: is made if it is not there.
        seeds: of the trainings.
        noted: whether the joint training notes what its tasks do to each other at every step.
    """
    for task in world.tasks:
        for split in SPLITS:
            lines = (json.dumps(row) + "\n" for row in world.rows(task, split))
            write_text(folder / _file(task, split), "".join(lines))
    path = folder / "planted.yaml"
    write_json(path, run_spec(world, seeds, noted=noted))  # JSON is YAML
    return path


def run_spec(world: World, seeds: Sequence[int], *, noted: bool = False) -> dict[str, Any]:
    """Return the content of the spec; arguments as in :func:`write_world`."""
    block = {
        "source_stage": "full",
        "target_stage": world.target_stage,
        "sources": "all",
        "targets": "all",
        "seeds": [*seeds],
    }
    content = _read("run") | {
        "seed": seeds[0],
        "streams": [_stream(task) for task in world.tasks],
        "transfer": [block],
    }
    if noted:
        content["schedule"] |= {"slots_per_step": len(world.tasks), "tokens_per_batch": 128}
        content["balancer"] = NOTED
    return content


def _stream(task: PlantedTask) -> dict[str, Any]:
    return {
        "name": f"{task.name}-{task.domain}",
        "domain": task.domain,
        "data": {
            "source": "files",
            "path": {split: _file(task, split) for split in SPLITS},
            "format": {"name": "jsonl"},
        },
        "split": {"by": "given"},
        "tasks": [{"name": task.name, **_read("task")}],
    }


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def _file(task: PlantedTask, split: str) -> str:
    return f"{task.name}-{task.domain}.{split}.jsonl"
