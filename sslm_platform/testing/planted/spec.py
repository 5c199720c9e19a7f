"""A world as files: texts, and the spec of a run that measures them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslm_platform.files import write_json, write_text
from sslm_platform.testing.planted.world import SPLITS, PlantedTask, World

ENCODER = {
    "config": {
        "model_type": "bert",
        "hidden_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 96,
    },
    "tokenizer": {"train": {"vocabulary_size": 8000}},  # large enough to hold every word as a whole
    "max_length": 16,
    "dropout": 0.0,
}
SCHEDULE = {"sampler": {"name": "uniform"}, "tokens_per_batch": 512, "max_steps": 30}
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
    content = {
        "name": "planted",
        "seed": seeds[0],
        "encoder": ENCODER,
        "streams": [_stream(task) for task in world.tasks],
        "schedule": SCHEDULE,
        "optimizer": {"lr": 1e-2},
        "engine": {"threads": 1},
        "transfer": [block],
    }
    if noted:
        schedule = SCHEDULE | {"slots_per_step": len(world.tasks), "tokens_per_batch": 128}
        content |= {"schedule": schedule, "balancer": NOTED}
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
        "tasks": [
            {
                "name": task.name,
                "fields": {"text": "text", "label": "label"},
                "objective": {"name": "cross_entropy"},
                "head": {"name": "sequence_classifier"},
                "metrics": ["accuracy"],
            }
        ],
    }


def _file(task: PlantedTask, split: str) -> str:
    return f"{task.name}-{task.domain}.{split}.jsonl"
