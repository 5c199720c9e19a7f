"""Stands for an encoder that writes on, in checks of heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslm_platform.testing import data


class WrittenOn:
    """States that depend on an example's and on the tokens so far (:class:`~sslm_platform.api.Continued`)."""

    device = torch.device("cpu")
    room = 30

    def __init__(self, head: Any, states_BD: Tensor) -> None:
        generator = torch.Generator().manual_seed(5)
        self._embedding_VD = torch.randn(data.VOCABULARY.size, data.HIDDEN_SIZE, generator=generator)
        self._head, self._states_RD = head, states_BD

    def repeat(self, times: int) -> None:
        """Put copies of each row side by side."""
        self._states_RD = self._states_RD.repeat_interleave(times, 0)

    def following(self, ids_R: Tensor) -> Tensor:
        """Append a token to each row; return the logits of the next, (R, V)."""
        self._states_RD = self._states_RD.roll(1, dims=1) + 5 * self._embedding_VD[ids_R]
        return self._head(self._head.transform(self._states_RD) @ self._embedding_VD.T)

    def reorder(self, rows_R: Tensor) -> None:
        """Put another row of the same example in each row's place."""
        self._states_RD = self._states_RD[rows_R]
