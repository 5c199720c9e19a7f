"""SimCSE: a text is to be told from others by what dropout, or a small change, leaves of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sslm_objectives.contrastive.infonce import cosines, info_nce, numbered, summed
from sslm_objectives.contrastive.options import SimcseOptions
from sslm_objectives.contrastive.readings import Readings, text_span
from sslm_platform.api import Encoded, Targets, TaskBatch


class SimCSE:
    """-log exp(cos(h_i, h'_i) / T) / sum_j exp(cos(h_i, h'_j) / T) in nats (Gao et al. 2021, equation 4).

    h and h' are two readings of a text with dropout of their own, by two encoder calls; where the stream has
    augmenters, the second is of the text as they change it. The sum is over the texts of the batch (of the
    rank, if there are several); a text that occurs twice is no negative of itself. Evaluation reads without
    dropout and change: both readings agree, and the loss says how far apart the texts are.

    Rows of targets, two for each text: its first reading, whose label is the second one's row.
    """

    def __init__(self, options: SimcseOptions) -> None:
        self.temperature = options.temperature

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Read each text twice; one without tokens weighs nothing."""
        readings, kept = Readings(), []
        for example in examples:
            readings.start_example()
            views = (example, example.variant or example)
            rows = [readings.read(view.input_ids_L, call) for call, view in enumerate(views)]
            spans = [text_span(view) for view in views]
            kept.append(all(end > start for start, end in spans))
            if kept[-1]:
                place = readings.target(rows[0], spans[0])
                readings.targets["labels"][place] = readings.target(rows[1], spans[1])
        targets = readings.tensors()
        texts = numbered(e.input_ids_L for e, is_kept in zip(examples, kept, strict=True) if is_kept)
        return TaskBatch(
            {**targets, "text": torch.tensor(texts, dtype=torch.int64)},
            torch.tensor(kept, dtype=torch.float32),
            readings.input_ids(),
            readings.segments(),
            windows=readings.windows(),
            calls=readings.call_numbers(),
        )

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from vectors (N, W)."""
        first_A = torch.nonzero(targets["labels"] >= 0).flatten()
        vectors = outputs.float()
        score_AA = cosines(vectors[first_A], vectors[targets["labels"][first_A]]) / self.temperature
        text_A = targets["text"]
        same_AA = text_A[:, None] == text_A
        loss_A = info_nce(score_AA, torch.arange(len(first_A), device=outputs.device), same_AA)
        return summed(loss_A, targets["example"][first_A], num_examples)
