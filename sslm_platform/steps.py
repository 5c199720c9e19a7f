"""What is said of an optimizer step: to observers, and in ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GradientStatistics:
    """How the tasks' gradients of ``balancer.scope`` lie to each other in one step.

    ``norms`` are of each task's mean loss. ``cosines`` maps task to later task to their cosine;
    ``conflict_rate`` is the share of pairs whose cosine is below 0. Without a pair there is none.
    """

    norms: Mapping[str, float]
    cosines: Mapping[str, Mapping[str, float]]
    conflict_rate: float | None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one optimizer step did; read-only for observers.

    A step with a loss or a gradient that is not finite changes nothing: ``skipped_for`` then names the tasks
    whose loss it was, or else the parts (``encoder``, heads) whose gradient it was. ``num_skipped`` counts
    such steps since the training began.
    """

    step: int
    num_steps: int
    phase: str
    learning_rate: float
    loss: float
    losses: Mapping[str, float]
    weights: Mapping[str, float]
    gradient_norms: Mapping[str, float]
    slots: Mapping[str, int]
    num_tokens: int
    num_padded_tokens: int
    seconds: float
    probabilities: Mapping[str, float] = field(default_factory=dict)
    gradients: GradientStatistics | None = None
    skipped_for: tuple[str, ...] = ()
    num_skipped: int = 0
    affinities: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # of a task on others (TAG)
    scores: Mapping[str, float] = field(default_factory=dict)
