"""Colours that people with any colour vision can tell apart; gains are blue, harms orange."""

from __future__ import annotations

from collections.abc import Sequence

from sslm_platform.report.matrix import Cell

GAIN, HARM, SCORE = "#1f6fb2", "#c8590a", "#2f7d77"

# Okabe and Ito's, without yellow (too pale on white), in an order that keeps neighbours apart.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f")
DASHES = ("solid", "dash", "dot", "dashdot")

STRONGEST = 0.68  # more of a hue than this and dark text on it falls below a contrast of 4.5
UNDECIDED = 0.3


def gain_strength(cell: Cell, largest: float) -> float:
    """How much of the hue a gain gets, 0..1: by its size, and little where it is no discovery."""
    if cell.estimate is None or not largest:
        return 0.0
    share = min(1.0, abs(cell.estimate.value) / largest)
    return STRONGEST * share * (1.0 if cell.discovery else UNDECIDED)


def score_strength(cell: Cell, lowest: float, highest: float) -> float:
    """How much of the hue a score gets, 0..1: from the worst of its matrix to the best."""
    if cell.estimate is None or highest == lowest:
        return 0.0
    share = (cell.estimate.value - lowest) / (highest - lowest)
    return STRONGEST * (0.1 + 0.9 * (share if cell.higher_is_better else 1 - share))


def strengths(cells: Sequence[Cell], *, is_gain: bool) -> list[float]:
    """The strength of every cell of one matrix, in order."""
    values = [cell.estimate.value for cell in cells if cell.estimate]
    if is_gain:
        largest = max((abs(value) for value in values), default=0.0)
        return [gain_strength(cell, largest) for cell in cells]
    lowest, highest = min(values, default=0.0), max(values, default=0.0)
    return [score_strength(cell, lowest, highest) for cell in cells]


def hue(cell: Cell, *, is_gain: bool) -> str:
    """The hue of a cell with a value."""
    if not is_gain:
        return SCORE
    return GAIN if cell.estimate and cell.estimate.value >= 0 else HARM


def mix(color: str, share: float, base: str = "#ffffff") -> str:
    """Mix ``share`` of a colour into ``base``, channel by channel in sRGB."""
    channels = zip(_channels(color), _channels(base), strict=True)
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in channels)


def _channels(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]
