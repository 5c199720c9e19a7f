"""What an augmenter gets and returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from sslm_platform import Run


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a changed text, and the number of the word that it stands for, whose tags it gets."""

    text: str
    origin: int


def open_run(folder: str) -> Run:
    """Open the folder of a run that was trained before, for augmenters that let it write (or choose) texts.

    Raises:
        SslmError: it is no run's folder.
    """
    import sslm_platform  # which needs all that plugins must not wait for

    return sslm_platform.load_run(folder)


class Augmenter(Protocol):
    """Made by an :class:`~sslm_platform.types.AugmenterDef`."""

    def augment(
        self, words: Sequence[str], groups: Sequence[range], generator: np.random.Generator
    ) -> Sequence[Word]:
        """Return the changed text, one word at least.

        Args:
            words: W words, W >= 1: a text cut at white space, or a row's tokens.
            groups: all places from 0 to W - 1 in order, cut where cutting is safe. A longer group is a tagged
                chunk: it stays whole, in order and in one piece, or goes as a whole; each of its words may be
                replaced by one. A group of one may also occur several times.
            generator: keyed by (seed, epoch, example): use no other randomness.
        """
        ...
