"""Texts as predictions: what their tokenizers and heads do, and what the platform hands them.

Shape suffixes as in :mod:`sslm_platform.interfaces`; R hypotheses, V tokens of a vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sslm_platform.interfaces import Targets

if TYPE_CHECKING:
    from torch import Tensor


class TextTokenizer(Protocol):
    """What turns target texts into ids and back.

    Attributes:
        size: number of ids.
        pad_id: never part of a text.
        start_id: what a text is generated from.
        end_id: what ends it.
    """

    size: int
    pad_id: int
    start_id: int
    end_id: int

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's ids, without start and end."""
        ...

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts of ids; special tokens are left out."""
        ...


class Continued(Protocol):
    """Texts that an encoder writes after others, R hypotheses, which grow by a token at each step.

    Attributes:
        device: of the tokens.
        room: how many tokens may follow a text.
    """

    device: Any
    room: int

    def repeat(self, times: int) -> None:
        """Put copies of each row side by side, before the first step."""
        ...

    def following(self, ids_R: Tensor) -> Tensor:
        """Append a token to each row, but for the first call; return the logits of the next, (R, V)."""
        ...

    def reorder(self, rows_R: Tensor) -> None:
        """Put another row of the same example in each row's place."""
        ...


class WritingHead(Protocol):
    """A tied head of ``generated_text``: the encoder itself writes, after the text that it has read.

    Its objective has the attention ``prefix``, and ``targets["prefix"]``, (B,), is how many tokens that text
    has: the state of the one before a target is at ``prefix`` - 1 + ``position``.
    """

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Return the states of the tokens before the targets, (N, D)."""
        ...

    def transform(self, features: Tensor) -> Tensor:
        """Map (N, D) to the (N, D) that is multiplied with the embedding matrix."""
        ...

    def __call__(self, features: Tensor) -> Tensor:
        """Return logits (N, vocabulary size) from these products."""
        ...

    def write(
        self,
        continued: Continued,
        generators: Sequence[np.random.Generator],
        goes_on: Callable[[bool], bool],
    ) -> list[str] | list[list[str]]:
        """Return a text, or some, for each example; arguments as in :meth:`GeneratingHead.generate`."""
        ...


class GeneratingHead(Protocol):
    """A head of ``generated_text``; a ``torch.nn.Module``.

    ``features`` returns whatever its ``forward`` reads, without parameters. In training ``forward`` gives
    the logits of the targets' tokens, (N, vocabulary size).
    """

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Any:
        """Put together the states and the targets' tokens."""
        ...

    def __call__(self, features: Any) -> Tensor:
        """Return the logits of the targets' tokens, in their order."""
        ...

    def generate(
        self,
        hidden_BLD: Tensor,
        mask_BL: Tensor,
        generators: Sequence[np.random.Generator],
        goes_on: Callable[[bool], bool],
    ) -> list[str] | list[list[str]]:
        """Return a text for each example, or a list of some, the best first.

        Args:
            hidden_BLD: the encoder's states.
            mask_BL: where they are states of tokens.
            generators: each example's own; draw from nothing else.
            goes_on: to be asked after each step with whether an example here is unfinished; says whether
                one is on any rank. Steps go on until it says no, since ranks must call a sharded module
                equally often.
        """
        ...
