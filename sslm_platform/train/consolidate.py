"""The ends of a training's stages, where elastic weight consolidation looks back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sslm_platform.engine.base import Engine
from sslm_platform.evaluate import make_batch, outputs_of, rewritten
from sslm_platform.schedule.plan import Planner

if TYPE_CHECKING:
    from sslm_platform.train.loop import Training


def stage_ends(planner: Planner) -> dict[int, Sequence[str]]:
    """Return the feeds of each stage but the last, by the number of steps that are done when it ends.

    Stages so short that they have no step are left out.
    """
    found: dict[int, Sequence[str]] = {}
    start = 0
    for end, feeds in planner.stages():
        if start < end < planner.num_steps:
            found[end] = feeds
        start = end
    return found


def end_stage(training: Training, engine: Engine, feeds: Sequence[str], num_examples: int) -> None:
    """Measure what a stage's feeds need of the encoder, on training examples drawn by seed."""
    assert engine.consolidation is not None
    modules = (engine.encoder, *training.model.heads.values())
    for module in modules:
        module.eval()
    torch.manual_seed(training.seed)
    engine.consolidation.take(_losses(training, engine, feeds, num_examples))
    for module in modules:
        module.train()


def _losses(training: Training, engine: Engine, feeds: Sequence[str], num_examples: int) -> Iterator[Tensor]:
    """Yield the loss of each of ``num_examples`` of each feed, summed over its tasks."""
    pad_id = training.corpus.vocabulary.pad_id
    for name in feeds:
        feed = training.feeds[name]
        split = feed.splits["train"]
        drawn = np.random.default_rng(training.seed).permutation(len(split))[:num_examples]
        for row in drawn:
            models = {task: training.model.tasks[task] for task in split.tasks_of(np.array([row]))}
            batch = make_batch(split, np.array([row]), models, pad_id, training.seed, 0, engine.device)
            batch = rewritten(batch, models)
            outputs = outputs_of(engine.encoder, models)(batch)
            losses = [
                models[task].objective.losses(outputs[task], part.targets, 1).sum()
                for task, part in batch.tasks.items()
            ]
            yield torch.stack(losses).sum()
