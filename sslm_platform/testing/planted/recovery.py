"""Whether a measured matrix shows what was planted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sslm_platform.report.matrix import Cell, Matrix, Relation
from sslm_platform.report.predictions import Pair
from sslm_platform.testing.planted.world import World


@dataclass(frozen=True, slots=True)
class Recovery:
    """A matrix of gains against its world, diagonal left out.

    Attributes:
        clear: pairs whose planted effect is larger than what their cell could detect.
        right: those of them whose gain has the planted sign.
        zeros: pairs without an effect.
        claimed: those of them that are discoveries all the same.
        error: root mean square of measured minus planted gains. Of a perfect learner it would be sampling
            error alone.
    """

    clear: tuple[Pair, ...]
    right: tuple[Pair, ...]
    zeros: tuple[Pair, ...]
    claimed: tuple[Pair, ...]
    error: float

    @property
    def share_right(self) -> float:
        """Of the clear pairs; NaN where there are none."""
        return len(self.right) / len(self.clear) if self.clear else float("nan")


def recovery(world: World, matrix: Matrix) -> Recovery:
    """Compare gains with the world's effects.

    Args:
        world: what was planted.
        matrix: ``build_matrix(..., protocol=world.protocol, value="gain", baseline=world.baseline)``, with a
            value in every place.
    """
    effects = world.effects
    cells = {pair: cell for pair, cell in matrix.cells.items() if cell.relation is Relation.APART}
    assert cells.keys() == effects.keys()
    clear = [pair for pair, cell in cells.items() if abs(effects[pair]) > (cell.detectable or 0.0)]
    zeros = [pair for pair in cells if effects[pair] == 0]
    return Recovery(
        clear=tuple(clear),
        right=tuple(pair for pair in clear if _gain(cells[pair]) * effects[pair] > 0),
        zeros=tuple(zeros),
        claimed=tuple(pair for pair in zeros if cells[pair].discovery),
        error=float(np.sqrt(np.mean([(_gain(cells[pair]) - effects[pair]) ** 2 for pair in cells]))),
    )


def _gain(cell: Cell) -> float:
    assert cell.estimate is not None, f"the cell is {cell.state}"
    return cell.estimate.value
