"""The order of ordinal labels."""

from __future__ import annotations

from collections.abc import Sequence

from sslm_platform.api import SpecError


def ranked(order: Sequence[str] | None, labels: Sequence[str]) -> list[str]:
    """Return the labels from low to high: as ``order`` says, or by the numbers that they are.

    Raises:
        SpecError: ``order`` lacks or repeats a label, or names another; or labels are no numbers.
    """
    if order is not None:
        if sorted(order) != sorted(labels):
            raise SpecError(f"order is {', '.join(order)}, but the labels are {', '.join(labels)}")
        return list(order)
    try:
        return sorted(labels, key=float)
    except ValueError:
        raise SpecError(f"the labels {', '.join(labels)} are no numbers: give their order") from None
