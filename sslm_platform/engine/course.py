"""What a step's place in a training decides beside the learning rate. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from sslm_platform.spec.optimizer import OptimizerSpec


@dataclass(frozen=True, slots=True)
class Phase:
    """Of one step, equal on all ranks.

    Attributes:
        unfrozen: share of the encoder's layers that are trained, counted from the last, in [0, 1].
        averages: whether the weights after the step enter the average.
        step: its number, from 0.
        num_steps: of the training.
    """

    unfrozen: float = 1.0
    averages: bool = True
    step: int = 0
    num_steps: int = 1

    def trains(self, depth: int, num_depths: int) -> bool:
        """Whether the layers at a depth, 0 is the last layer's, are trained."""
        return depth + 1 <= self.unfrozen * num_depths + 1e-9  # shares are rounded


EVERYTHING = Phase()


def phase_of(step: int, num_steps: int, spec: OptimizerSpec) -> Phase:
    """Return the phase of optimizer step ``step`` (from 0)."""
    unfrozen = min(1.0, step / (spec.unfreeze * num_steps)) if spec.unfreeze else 1.0
    averages = spec.average is not None and step >= spec.average.start * num_steps
    return Phase(unfrozen, averages, step, num_steps)
