"""Cross entropy of each label by itself, for examples with any number of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sslm_objectives.options import BinaryCrossEntropyOptions
from sslm_objectives.rows import marker_targets
from sslm_objectives.weights import positive_weights
from sslm_platform.api import Encoded, ObjectiveContext, Targets, TaskBatch


class BinaryCrossEntropy:
    """Sum over labels of -log p(has it) or -log p(has it not), in nats; an example weighs their number K.

    A label's loss is w_k (1 - p)^gamma (-log p) where the example has it, (1 - p)^gamma (-log p) where not; p
    is the probability of what is true (Lin et al. 2017, equation 4, with weights of positives alone).
    """

    def __init__(self, options: BinaryCrossEntropyOptions, context: ObjectiveContext) -> None:
        self.num_labels = len(context.labels)
        self.focal_gamma = options.focal_gamma
        self.positive_K = positive_weights(options.positive_weights, context)

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Make 0 or 1 of each label, (B, K); labels that the head does not know are left out."""
        labels_BK = torch.zeros(len(examples), self.num_labels)
        for row_K, example in zip(labels_BK, examples, strict=True):
            ids = np.asarray(example.values["labels"], dtype=np.int64)
            row_K[torch.from_numpy(ids[ids >= 0])] = 1.0
        targets = {"labels": labels_BK, **marker_targets(examples)}
        return TaskBatch(targets, torch.full((len(examples),), float(self.num_labels)))

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (B, K)."""
        labels_BK = targets["labels"]
        log_p_BK = logsigmoid(torch.where(labels_BK > 0, outputs.float(), -outputs.float()))
        loss_BK = -log_p_BK
        if self.focal_gamma:
            loss_BK = (-torch.expm1(log_p_BK)).clamp(min=1e-12) ** self.focal_gamma * loss_BK
        self.positive_K = self.positive_K.to(loss_BK)  # once: a copy to a GPU waits for it
        weight_BK = torch.where(labels_BK > 0, self.positive_K, 1.0)
        return (weight_BK * loss_BK).sum(dim=1)
