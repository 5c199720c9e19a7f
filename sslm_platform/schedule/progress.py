"""Where a training stands beside its weights: what a checkpoint keeps of the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sslm_platform.interfaces import Memory
from sslm_platform.schedule.plan import Position, StepPlan


@dataclass(slots=True)
class Progress:
    """The schedule's state; equal on all ranks, JSON content throughout.

    Attributes:
        positions: where each feed stands.
        sampler: the sampler's memory.
        balancer: the balancer's memory.
        augmenting: what dev scores have made of the augmenters' probabilities.
        expected: slots of each feed that the sampler's probabilities have added up to.
        drawn: slots of each feed that were drawn.
        skipped: steps that changed nothing, since a loss or a gradient was not finite.
        skipped_in_a_row: those of them since the last step that was not skipped.
    """

    positions: Mapping[str, Position]
    sampler: Memory = field(default_factory=dict)
    balancer: Memory = field(default_factory=dict)
    augmenting: Memory = field(default_factory=dict)
    expected: dict[str, float] = field(default_factory=dict)
    drawn: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    skipped_in_a_row: int = 0

    def advance(self, plan: StepPlan) -> None:
        """Count a step that is done."""
        self.positions = plan.positions
        for feed, probability in plan.probabilities.items():
            self.expected[feed] = self.expected.get(feed, 0.0) + probability * len(plan.slots)
            self.drawn[feed] = self.drawn.get(feed, 0) + plan.counts.get(feed, 0)

    def judge(self, *, skipped: bool) -> None:
        """Count whether a step was skipped."""
        self.skipped += skipped
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0

    def shares(self) -> dict[str, dict[str, float]]:
        """Return each feed's intended and realised share of all slots so far; each sums to 1."""
        num_slots = max(1, sum(self.drawn.values()))
        return {
            feed: {"intended": self.expected[feed] / num_slots, "realised": count / num_slots}
            for feed, count in self.drawn.items()
        }

    def content(self) -> dict[str, Any]:
        """Return the state as JSON content."""
        return asdict(self)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Progress:
        """Return the state that :meth:`content` described."""
        positions = {feed: Position(**position) for feed, position in content["positions"].items()}
        return cls(**{**content, "positions": positions})
