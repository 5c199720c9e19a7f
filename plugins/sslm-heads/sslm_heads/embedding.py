"""One vector for a text, or for a part of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sslm_heads.layers import linear
from sslm_heads.options import VectorOptions
from sslm_platform.api import HeadContext, Targets, rows_by_example


class Embedding(nn.Module):
    """Vectors (N, width) of spans of tokens: pooled states, perhaps mapped.

    A row that is to be compared with what comes ``ahead`` segments later is mapped by that distance's own
    matrix, W_k; others by the projection.
    """

    def __init__(self, options: VectorOptions, context: HeadContext) -> None:
        super().__init__()
        self.pooling = options.pooling
        size = context.hidden_size
        width = (options.width or size) if options.projection != "none" else size
        self.projection = _projection(options.projection, size, width)
        self.predictors = nn.ModuleList(linear(size, width) for _ in range(getattr(options, "steps", 0)))

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Pool each row's states; where there are predictors, append how far ahead it looks: (N, D [+ 1])."""
        pooled_ND = self._pooled(hidden_BLD, targets)
        if not len(self.predictors):
            return pooled_ND
        return torch.cat([pooled_ND, targets["ahead"].to(pooled_ND.dtype).unsqueeze(1)], dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, D [+ 1]) to vectors (N, width)."""
        if not len(self.predictors):
            return self.projection(features)
        states_ND, ahead_N1 = features[:, :-1], features[:, -1:]
        vectors = torch.where(ahead_N1 == 0, self.projection(states_ND), 0.0)
        for step, predictor in enumerate(self.predictors, 1):
            vectors = vectors + torch.where(ahead_N1 == step, predictor(states_ND), 0.0)
        return vectors

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return the vector of each example's first row."""
        found = [np.zeros(0)] * num_examples
        vectors = outputs.double().cpu().numpy()
        rows = zip(targets["example"].tolist(), targets["position"].tolist(), vectors, strict=True)
        for example, position, vector in rows:
            if position == 0:
                found[example] = vector
        return found

    def _pooled(self, hidden_BLD: Tensor, targets: Targets) -> Tensor:
        row_N, start_N, end_N = (targets[name] for name in ("row", "start", "end"))
        if self.pooling == "cls":
            # a part of a row that is read from left to right is known by its last token
            place_N = torch.where(targets["ahead"] > 0, end_N - 1, 0)
            return hidden_BLD[row_N, place_N]
        size_N = end_N - start_N
        index_T = torch.repeat_interleave(torch.arange(len(row_N), device=row_N.device), size_N)
        offset_T = torch.arange(len(index_T), device=row_N.device) - (size_N.cumsum(0) - size_N)[index_T]
        states_TD = hidden_BLD[row_N[index_T], start_N[index_T] + offset_T]
        total_ND = states_TD.new_zeros(len(row_N), states_TD.shape[1]).index_add(0, index_T, states_TD)
        return total_ND / size_N.unsqueeze(1)


class BiEncoder(Embedding):
    """Vectors of a text and of its candidates, each from the candidate's or the text's own tokens alone."""

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Rank each example's own candidates by the cosine with its text."""
        unit = torch.nn.functional.normalize(outputs.double(), dim=-1).cpu().numpy()
        parts = rows_by_example(unit, targets["example"].cpu().numpy(), num_examples)
        empty = np.zeros(0, dtype=np.int64)
        return [np.argsort(-(p[1:] @ p[0]), kind="stable") if len(p) else empty for p in parts]


def _projection(kind: str, size: int, width: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    if kind == "linear":
        return linear(size, width)
    return nn.Sequential(linear(size, size), nn.Tanh(), linear(size, width))
