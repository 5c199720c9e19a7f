"""The evidence of a Bayesian linear model on features, maximised over its two precisions."""

from __future__ import annotations

import math

import numpy as np

from sslm_platform.api import Evidence

MAX_ITERATIONS = 100
TOLERANCE = 1e-3  # of alpha / beta, as in the authors' code
FLOOR = 1e-5  # keeps precisions finite where a target is fitted without error


class LogME:
    """LogME = max over a, b of log p(y | F, a, b) / N, averaged over the target's columns.

    You, Liu, Wang & Long 2021, "LogME: practical assessment of pre-trained models for transfer learning",
    algorithm 1 with the fixed point of its journal version (JMLR 23, 2022). F is (N, D) and is not centred;
    y is a label's 0/1 column (one for each label that occurs) or the values, ~ N(F w, 1/b), w ~ N(0, 1/a).
    """

    def score(self, evidence: Evidence) -> float:
        """Return the mean log evidence per row, in nats."""
        found = evidence.features
        if found.num_labels:
            columns = [found.targets_N == label for label in np.unique(found.targets_N)]
        else:
            columns = [found.targets_N]
        left_NK, s_K, _ = np.linalg.svd(found.rows_ND, full_matrices=False)
        num_columns = found.rows_ND.shape[1]
        return float(np.mean([_evidence(left_NK, s_K**2, num_columns, y_N.astype(float)) for y_N in columns]))


def _evidence(left_NK: np.ndarray, s2_K: np.ndarray, num_columns: int, y_N: np.ndarray) -> float:
    n = len(y_N)
    along_K = (left_NK.T @ y_N) ** 2
    across = max(float(y_N @ y_N - along_K.sum()), 0.0)  # of y, outside the span of F
    alpha = beta = 1.0
    for _ in range(MAX_ITERATIONS):
        ratio = alpha / beta
        effective, weight2, residual2 = _moments(s2_K, along_K, across, ratio)
        alpha = effective / (weight2 + FLOOR)
        beta = (n - effective) / (residual2 + FLOOR)
        if abs(alpha / beta - ratio) <= TOLERANCE * ratio:
            break
    _, weight2, residual2 = _moments(s2_K, along_K, across, alpha / beta)
    log_determinant = float(np.log(alpha + beta * s2_K).sum()) + (num_columns - len(s2_K)) * math.log(alpha)
    total = num_columns * math.log(alpha) + n * math.log(beta) - log_determinant
    return 0.5 * (total - beta * residual2 - alpha * weight2 - n * math.log(2 * math.pi)) / n


def _moments(
    s2_K: np.ndarray, along_K: np.ndarray, across: float, ratio: float
) -> tuple[float, float, float]:
    """Return effective parameters, |w|² and |y - F w|² of the posterior mean at alpha / beta = ratio."""
    effective = float((s2_K / (s2_K + ratio)).sum())
    weight2 = float((s2_K * along_K / (s2_K + ratio) ** 2).sum())
    residual2 = float((along_K * (ratio / (s2_K + ratio)) ** 2).sum()) + across
    return effective, weight2, residual2
