"""What comes next in a text, in states: told from others (CPC), or regressed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sslm_objectives.contrastive.infonce import info_nce, numbered, summed
from sslm_objectives.contrastive.options import CpcOptions, FutureOptions
from sslm_objectives.contrastive.readings import Readings, Span, excerpt, text_span
from sslm_platform.api import Encoded, Targets, TaskBatch

EPSILON = 1e-4  # under the root of a variance, as in VICReg
TINY = 1e-6  # the same, where a state's dimension is standardized


class _Future(ABC):
    """A text is cut into S segments of about equal length, read in two encoder calls from left to right.

    The first reads the whole text: the state of segment t's last token has seen segments 1 to t, and is the
    context c_t. The second reads each segment by itself: z_t is the mean state of its tokens, which know
    nothing of the others. From c_t the z of the next segments are predicted. A text of fewer than two
    segments weighs nothing; others weigh as much as they have predictions.

    Rows of targets: each z (label -1), then each prediction; its label is the row of its z.
    """

    def __init__(self, options: CpcOptions) -> None:
        self.segment_tokens = options.segment_tokens
        self.steps_ahead = options.steps_ahead

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Cut the texts; nothing is random."""
        readings, texts, weights = Readings(), [], []
        for example in examples:
            readings.start_example()
            whole = readings.read(example.input_ids_L, 0)
            spans = self.segments(example)
            later = spans[1:]
            rows = []
            for start, end in later:
                row = readings.read(excerpt(example, (start, end)), 1)
                first = text_span(example)[0]
                rows.append(readings.target(row, (first, first + end - start)))
                texts.append(example.input_ids_L[start:end])
            pairs = [(t, k) for t in range(len(later)) for k in range(1, self.steps_ahead + 1)]
            pairs = [(t, k) for t, k in pairs if t + k <= len(later)]
            for t, k in pairs:
                end = spans[t][1]
                readings.target(whole, (end - 1, end), label=rows[t + k - 1], ahead=k)
            weights.append(float(len(pairs)))
        targets = {**readings.tensors(), "text": torch.tensor(numbered(texts), dtype=torch.int64)}
        return TaskBatch(
            targets,
            torch.tensor(weights),
            readings.input_ids(),
            readings.segments(),
            windows=readings.windows(),
            calls=readings.call_numbers(),
        )

    def segments(self, example: Encoded) -> list[Span]:
        """Return where a text's segments begin and end, at least one."""
        start, end = text_span(example)
        number = max(1, (end - start) // self.segment_tokens)
        cuts = np.linspace(start, end, number + 1).round().astype(int).tolist()
        return list(pairwise(cuts))

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) losses from vectors (N, W)."""
        is_prediction = targets["labels"] >= 0
        places_C = torch.nonzero(~is_prediction).flatten()
        anchors_A = torch.nonzero(is_prediction).flatten()
        positive_A = torch.searchsorted(places_C, targets["labels"][anchors_A])
        vectors = outputs.float()
        if len(anchors_A):
            loss_A = self.compare(vectors[anchors_A], vectors[places_C], positive_A, targets["text"])
        else:
            loss_A = vectors[anchors_A].sum(dim=1)  # nothing, of which there is still a gradient
        return summed(loss_A, targets["example"][anchors_A], num_examples)

    @abstractmethod
    def compare(self, predicted_AW: Tensor, z_CW: Tensor, positive_A: Tensor, text_C: Tensor) -> Tensor:
        """Return the loss of each prediction, (A,); ``positive_A`` are the columns of the right z."""


class ContrastivePredictiveCoding(_Future):
    """-log exp(z_{t+k} · W_k c_t) / sum_j exp(z_j · W_k c_t) in nats (van den Oord et al. 2018, equations 3
    and 4).

    The sum is over all z of the batch (of the rank, if there are several), the text's own among them; a
    segment that occurs twice is no negative of itself. W_k is the head's predictor. Chance is the log of
    their number.
    """

    def compare(self, predicted_AW: Tensor, z_CW: Tensor, positive_A: Tensor, text_C: Tensor) -> Tensor:
        """Return nats."""
        same_AC = text_C[positive_A][:, None] == text_C
        return info_nce(predicted_AW @ z_CW.T, positive_A, same_AC)


class FutureRegression(_Future):
    """mean over dimensions of (p - z')^2, + variance_weight · v + covariance_weight · c.

    p = W_k c_t is the head's prediction of the next segments' states. z' is z_{t+k}, each dimension
    standardized over the batch's z (as in Barlow Twins, Zbontar et al. 2021, equation 2), so that the error
    is a share of the states' variance: a prediction that knows nothing has 1. Both sides get its gradient, as
    in VICReg (Bardes et al. 2022); two terms keep the states from becoming easy to predict by saying nothing:

    - v, the mean over dimensions of max(0, 1 - sqrt(W var(z/|z|) + 1e-4)): VICReg's hinge on the variance
      (equation 1) on vectors of length one, whose standard deviation is 1 / sqrt(W) where they are spread
      out and 0 where they have collapsed (Chen & He 2021, section 4.1);
    - c, the sum over pairs of dimensions of z' of their squared correlation, by W: VICReg's covariance term
      (equations 3 and 4). It is left out of reported losses: of C vectors it is W / C where it should be 0.
    """

    def __init__(self, options: FutureOptions) -> None:
        super().__init__(options)
        self.options = options
        self.variance_weight = options.variance_weight
        self.covariance_weight = options.covariance_weight

    def compare(self, predicted_AW: Tensor, z_CW: Tensor, positive_A: Tensor, text_C: Tensor) -> Tensor:
        """Return squared errors, each with the loss of the spread."""
        wanted_CW = standardized(z_CW)
        error_A = (predicted_AW - wanted_CW[positive_A]).square().mean(dim=-1)
        spread = self.variance_weight * narrowness(z_CW)
        return error_A + spread + self.covariance_weight * redundancy(wanted_CW)

    def score_losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return the losses without c."""
        return FutureRegression(self.options.model_copy(update={"covariance_weight": 0.0})).losses(
            outputs, targets, num_examples
        )


def standardized(z_CW: Tensor) -> Tensor:
    """Return vectors whose dimensions have mean 0 and variance 1."""
    variance_W, mean_W = torch.var_mean(z_CW, dim=0, unbiased=False)
    return (z_CW - mean_W) / (variance_W + TINY).sqrt()


def redundancy(z_CW: Tensor) -> Tensor:
    """Return the sum of squared correlations between dimensions of standardized vectors, by their number."""
    correlation_WW = z_CW.T @ z_CW / len(z_CW)
    apart_WW = correlation_WW - torch.diag(torch.diagonal(correlation_WW))
    return apart_WW.square().sum() / z_CW.shape[1]


def narrowness(z_CW: Tensor) -> Tensor:
    """Return how far the vectors' directions are from being spread out: 0 to 1, where all are alike."""
    variance_W = normalize(z_CW, dim=-1).var(dim=0, unbiased=False) * z_CW.shape[1]
    return torch.relu(1 - (variance_W + EPSILON).sqrt()).mean()
