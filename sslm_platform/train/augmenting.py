"""Augmentation that follows the dev scores: more of it while they gain, less where they do not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sslm_platform.data.augment import Augmentation
from sslm_platform.interfaces import DevScore, Memory
from sslm_platform.spec.schema import AugmentSpec

if TYPE_CHECKING:
    from sslm_platform.train.loop import Training


def after_scoring(
    memory: Memory, tasks: Mapping[str, Sequence[str]], specs: Mapping[str, Sequence[AugmentSpec]],
    scores: Mapping[str, DevScore],
) -> Memory:  # fmt: skip
    """Return each feed's score and probabilities after a dev scoring; a pure function of what it is given.

    A feed's score is the mean over its tasks of (score - constant) / (best - constant): 0 is the constant
    predictor, 1 a perfect one. Where it is above the feed's last one, the probabilities of its augmenters
    with ``adapt`` rise by its ``step``, else they fall by it, within [0, ``most``]; the first scoring moves
    none.

    Args:
        memory: what the last scoring left; empty before the first.
        tasks: of each feed.
        specs: of the feeds that have augmenters, in their order.
        scores: by task.
    """
    found = {}
    for feed, items in specs.items():
        if not any(item.adapt for item in items):
            continue
        score = float(np.mean([_share(scores[task]) for task in tasks[feed]]))
        before = memory.get(feed)
        shares = [item.probability for item in items] if before is None else list(before["probabilities"])
        if before is not None:
            sign = 1.0 if score > before["score"] else -1.0
            shares = [_moved(p, sign, item) for p, item in zip(shares, items, strict=True)]
        found[feed] = {"score": score, "probabilities": shares}
    return found


def adapts(training: Training) -> bool:
    """Whether a training's texts depend on its last dev scoring."""
    streams = [training.model.tasks[task].task.stream for task in training.model.tasks]
    return any(item.adapt for stream in streams for item in stream.augment)


def _moved(probability: float, sign: float, spec: AugmentSpec) -> float:
    if spec.adapt is None:
        return probability
    return min(max(probability + sign * spec.adapt.step, 0.0), spec.adapt.most)


def _share(score: DevScore) -> float:
    way = score.best - score.constant
    share = (score.value - score.constant) / way if way else 0.0
    return 0.0 if math.isnan(share) else share


def at_present(augmentation: Augmentation | None, memory: Memory, feed: str) -> Augmentation | None:
    """Return a feed's augmentation with the probabilities that the last scoring has left."""
    if augmentation is None or feed not in memory:
        return augmentation
    shares = memory[feed]["probabilities"]
    steps = [(augmenter, share) for (augmenter, _), share in zip(augmentation.steps, shares, strict=True)]
    return replace(augmentation, steps=steps)
