"""The span of a context that answers a question (Devlin et al. 2019, sections 4.2 and 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sslm_heads.layers import linear
from sslm_heads.options import SpanOptions
from sslm_platform.api import HeadContext, Scored, Targets, rows_by_example

NO_ANSWER = -1


class SpanExtractor(nn.Module):
    """Logits (N, 2): how much each token looks like the first, and like the last, of the answer.

    The answer is the span within one window whose logits sum highest; there is none where the best "no
    answer" of the windows exceeds that by more than a threshold: 0, until a dev split sets it.
    """

    threshold: Tensor

    def __init__(self, options: SpanOptions, context: HeadContext) -> None:
        super().__init__()
        self.max_tokens = options.max_tokens
        self.dropout = nn.Dropout(options.dropout)
        self.output = linear(context.hidden_size, 2)
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Return the states of the targets' tokens, (N, D)."""
        return hidden_BLD[targets["row"], targets["position"]]

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, D) to logits (N, 2)."""
        return self.output(self.dropout(features))

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return each answer's characters, [start, end), or (-1, -1)."""
        return self.decide(self.scores(outputs, targets, num_examples))

    def scores(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return for each example by how much "no answer" exceeds the best span, and its characters, (3,)."""
        return [self._best(rows) for rows in self._tables(outputs, targets, num_examples)]

    def decide(self, scores: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Return the spans, (-1, -1) where "no answer" exceeds them by more than the threshold."""
        none = np.array([NO_ANSWER, NO_ANSWER])
        threshold = float(self.threshold)
        return [none if excess > threshold else np.array([s, e]).astype(int) for excess, s, e in scores]

    def tune(self, scored: Scored) -> None:
        """Take the threshold with the best mean F1 of characters; 1 for a "no answer" that is right."""
        excess_N = np.array([score[0] for score in scored.scores or ()])
        gain_N = np.array(
            [
                _overlap(score[1:], reference) - (not reference["answers"])
                for score, reference in zip(scored.scores or (), scored.references, strict=True)
            ]
        )
        if len(excess_N):
            self.threshold.fill_(_best_cut(excess_N, gain_N))

    def candidates(
        self, outputs: Tensor, targets: Targets, num_examples: int, num: int
    ) -> Sequence[Sequence[tuple[np.ndarray, float]]]:
        """Return the spans whose logits sum highest, "no answer" among them, with softmax probabilities.

        These are over all spans of all windows; a span of several windows is listed once, with its best.
        """
        return [self._listed(rows, num) for rows in self._tables(outputs, targets, num_examples)]

    def _listed(self, rows_N5: np.ndarray, num: int) -> list[tuple[np.ndarray, float]]:
        sums: dict[tuple[int, int], float] = {}
        for row in np.unique(rows_N5[:, 2]):
            first, last, _, start, end = rows_N5[rows_N5[:, 2] == row].T
            is_none = start == NO_ANSWER
            for total in (first + last)[is_none]:
                sums[NO_ANSWER, NO_ANSWER] = max(sums.get((NO_ANSWER, NO_ANSWER), -np.inf), float(total))
            sum_TT = self._sums(first[~is_none], last[~is_none])
            for a, b in np.argwhere(np.isfinite(sum_TT)).tolist():
                span = (int(start[~is_none][a]), int(end[~is_none][b]))
                sums[span] = max(sums.get(span, -np.inf), float(sum_TT[a, b]))
        if not sums:
            return []
        value_S = np.array(list(sums.values()))
        share_S = np.exp(value_S - value_S.max())
        share_S /= share_S.sum()
        order = np.argsort(-value_S, kind="stable")[:num]
        spans = list(sums)
        return [(np.array(spans[place]), float(share_S[place])) for place in order]

    def _tables(self, outputs: Tensor, targets: Targets, num_examples: int) -> list[np.ndarray]:
        """Return each example's rows: both logits, the window, and the characters, (N, 5)."""
        names = ("row", "start", "end")
        table_N5 = np.column_stack(
            [outputs.double().cpu().numpy(), *(targets[name].cpu().numpy() for name in names)]
        )
        return rows_by_example(table_N5, targets["example"].cpu().numpy(), num_examples)

    def _best(self, rows_N5: np.ndarray) -> np.ndarray:
        best, none = (-np.inf, NO_ANSWER, NO_ANSWER), -np.inf
        for row in np.unique(rows_N5[:, 2]):
            first, last, _, start, end = rows_N5[rows_N5[:, 2] == row].T
            is_none = start == NO_ANSWER
            none = max(none, float((first + last)[is_none].max(initial=-np.inf)))
            found = self._best_in_window(first[~is_none], last[~is_none])
            if found is not None and found[0] > best[0]:
                best = (found[0], start[~is_none][found[1]], end[~is_none][found[2]])
        excess = none - best[0] if np.isfinite(best[0]) and np.isfinite(none) else np.finfo(float).max
        return np.array([excess, best[1], best[2]], dtype=np.float64)

    def _best_in_window(self, first: np.ndarray, last: np.ndarray) -> tuple[float, int, int] | None:
        if not len(first):
            return None
        sum_TT = self._sums(first, last)
        place = int(sum_TT.argmax())
        return float(sum_TT.flat[place]), place // len(first), place % len(first)

    def _sums(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return the logits of each span of a window, by first and last token; -inf of too long ones."""
        length = np.arange(len(first))[None] - np.arange(len(first))[:, None]
        return np.where((length >= 0) & (length < self.max_tokens), first[:, None] + last[None], -np.inf)


def _overlap(span: np.ndarray, reference: Mapping[str, Any]) -> float:
    """Return the best F1 of characters of a span and the answers."""
    start, end = span
    best = 0.0
    for one in reference["answers"]:
        gold_end = one["start"] + len(one["text"])
        common = max(0.0, min(end, gold_end) - max(start, one["start"]))
        best = max(best, 2 * common / (end - start + gold_end - one["start"]))
    return best


def _best_cut(excess_N: np.ndarray, gain_N: np.ndarray) -> float:
    """Return the threshold t with the largest sum of gains over the examples whose excess is at most t."""
    values_U, group_N = np.unique(excess_N, return_inverse=True)
    total_U = np.cumsum(np.bincount(group_N, weights=gain_N))
    best = int(np.argmax(np.round(total_U, 9)))
    if total_U[best] <= 0:
        return float(values_U[0] - 1)
    if best + 1 == len(values_U):
        return float(values_U[best] + 1)
    return float((values_U[best] + values_U[best + 1]) / 2)
