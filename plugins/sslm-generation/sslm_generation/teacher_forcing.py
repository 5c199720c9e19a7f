"""Maximum likelihood of target texts, token by token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from sslm_generation.options import TeacherForcingOptions
from sslm_generation.rows import text_losses, text_targets
from sslm_platform.api import Encoded, ObjectiveContext, Targets, TaskBatch


class TeacherForcing:
    """-log p(token | input, tokens before it), summed over a target and its end.

    With smoothing s each target is (1 - s) · its token + s · uniform (Vaswani et al. 2017, 5.4). What is cut
    has no end, so that nothing learns to stop there.
    """

    def __init__(self, options: TeacherForcingOptions, context: ObjectiveContext) -> None:
        assert context.tokenizer is not None
        self.tokenizer = context.tokenizer
        self.options = options

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Return one row for each token of the targets, in order; nothing is random."""
        most = self.options.max_target_length
        texts = self.tokenizer.encode([example.values["target"] for example in examples])
        labels = [[*ids, self.tokenizer.end_id][:most] for ids in texts]
        targets, weight_B = text_targets(labels)
        return TaskBatch(targets, weight_B)

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return the summed cross-entropy of each example's tokens, (B,), in nats."""
        return text_losses(outputs, targets, num_examples, self.options.label_smoothing)

    def score_losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return the same without smoothing: what perplexity is of."""
        return text_losses(outputs, targets, num_examples)
