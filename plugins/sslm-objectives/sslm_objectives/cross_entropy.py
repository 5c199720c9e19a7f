"""Cross entropy of one label for each example, or of one tag for each word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sslm_objectives.options import CrossEntropyOptions
from sslm_objectives.rows import UNKNOWN, marker_targets, sum_by_example, word_targets
from sslm_objectives.weights import class_weights
from sslm_platform.api import Encoded, ObjectiveContext, Targets, TaskBatch


class _WeightedCrossEntropy:
    """w_y (1 - p_y)^gamma times the label-smoothed cross entropy; what has label y weighs w_y.

    So the mean is weighted: sum of losses / sum of w_y, as ``torch.nn.CrossEntropyLoss(weight=w)`` has it.
    The focal factor is Lin et al. 2017, equation 4, with p_y the probability of the gold label.
    """

    def __init__(self, options: CrossEntropyOptions, context: ObjectiveContext) -> None:
        self.label_smoothing = options.label_smoothing
        self.focal_gamma = options.focal_gamma
        self.weight_K = class_weights(options.class_weights, context)

    def _weights(self, labels_N: Tensor) -> Tensor:
        """Return each row's weight; 0 where the label is one that the training split does not have."""
        return torch.where(labels_N == UNKNOWN, 0.0, self.weight_K[labels_N.clamp(min=0)])

    def _losses(self, logits_NC: Tensor, targets: Targets) -> Tensor:
        labels_N = targets["labels"]
        loss_N = cross_entropy(
            logits_NC.float(),
            labels_N,
            reduction="none",
            label_smoothing=self.label_smoothing,
            ignore_index=UNKNOWN,
        )
        if self.focal_gamma:
            log_p_NC = torch.log_softmax(logits_NC.float(), dim=-1)
            log_p_N = log_p_NC.gather(1, labels_N.clamp(min=0)[:, None]).squeeze(1)
            # 1 - exp(log p) loses the derivative of (1 - p)^gamma where p rounds to 1
            loss_N = (-torch.expm1(log_p_N)).clamp(min=1e-12) ** self.focal_gamma * loss_N
        return targets["weight"] * loss_N


class SequenceCrossEntropy(_WeightedCrossEntropy):
    """-log p(label) in nats; an example weighs 1, or its label's class weight."""

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Read each example's ``label``."""
        labels_B = torch.tensor([int(example.values["label"]) for example in examples], dtype=torch.int64)
        weight_B = self._weights(labels_B)
        targets = {"labels": labels_B, "weight": weight_B, **marker_targets(examples)}
        return TaskBatch(targets, weight_B)

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (B, num_labels)."""
        return self._losses(outputs, targets)


class TokenCrossEntropy(_WeightedCrossEntropy):
    """Sum of -log p(tag) over the words that truncation left; an example weighs their number.

    A tag that the training split does not have has no probability: its word is predicted, and weighs nothing.
    """

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Make a row of each word's first token."""
        targets = word_targets(examples)
        weight_N = self._weights(targets["labels"])
        return TaskBatch({**targets, "weight": weight_N}, sum_by_example(weight_N, targets, len(examples)))

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (N, num_labels)."""
        return sum_by_example(self._losses(outputs, targets), targets, num_examples)
