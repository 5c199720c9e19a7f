"""Probabilities that are as often right as they say: a temperature that dev sets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sslm_heads.options import ClassifierOptions
from sslm_heads.sequence import SequenceClassifier
from sslm_platform.api import HeadContext, Scored, Targets

LOG_RANGE = math.log(100.0)  # temperatures from 0.01 to 100


class CalibratedClassifier(SequenceClassifier):
    """A classifier whose probabilities are softmax(logits / T) (Guo et al. 2017, section 4.2).

    T is 1 until a dev split sets it to what makes its labels likeliest. Predictions and the loss stay as they
    are.
    """

    temperature: Tensor

    def __init__(self, options: ClassifierOptions, context: HeadContext) -> None:
        super().__init__(options, context)
        self.register_buffer("temperature", torch.ones((), dtype=torch.float64))

    def scores(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return each label's probability, (num_labels,) for each example."""
        return list(torch.softmax(outputs.double() / self.temperature, dim=-1).detach().cpu().numpy())

    def decide(self, scores: Sequence[np.ndarray]) -> Sequence[int]:
        """Return the id of each example's likeliest label."""
        return [int(score_K.argmax()) for score_K in scores]

    def tune(self, scored: Scored) -> Sequence[np.ndarray] | None:
        """Set T; return the probabilities that it gives."""
        if not scored.scores:
            return None
        log_p_NK = np.log(np.maximum(np.stack(scored.scores), np.finfo(np.float64).tiny))
        log_t = math.log(float(self.temperature))
        sharpness = _best_sharpness(log_p_NK, np.asarray(scored.references), log_t)
        self.temperature /= sharpness
        power_NK = np.exp(sharpness * (log_p_NK - log_p_NK.max(axis=1, keepdims=True)))
        return list(power_NK / power_NK.sum(axis=1, keepdims=True))


def _best_sharpness(log_p_NK: np.ndarray, label_N: np.ndarray, log_t: float) -> float:
    """Return the a > 0 whose probabilities, in proportion to p^a, make the known labels likeliest.

    The temperature exp(log_t) / a stays in range: where scores separate the labels, none is the best.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    known_N = label_N >= 0
    log_p_NK, label_N = log_p_NK[known_N], label_N[known_N]
    if not len(label_N):
        return 1.0
    gold_N = log_p_NK[np.arange(len(label_N)), label_N]

    def loss(log_a: float) -> float:
        a = math.exp(log_a)
        # a sum that does not depend on the order of the examples
        return float(np.sort(logsumexp(a * log_p_NK, axis=1) - a * gold_N).sum())

    return math.exp(minimize_scalar(loss, bounds=(log_t - LOG_RANGE, log_t + LOG_RANGE), method="bounded").x)
