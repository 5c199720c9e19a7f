"""Masked language modelling (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sslm_objectives.options import MlmOptions
from sslm_objectives.rows import concatenate, example_index, row_cross_entropy
from sslm_platform.api import Encoded, PluginError, Targets, TaskBatch, Vocabulary


class MaskedLanguageModelling:
    """Hide some tokens and restore them; an example weighs its number of targets.

    Each token that is neither special nor unknown is a target with ``mask_prob``. An example of n such tokens
    that drew none gets one at random, so that no slot is empty: its expected number of targets is
    n p + (1 - p)^n, which for p = 0.15 is 15.0 % of 30 tokens, 17.0 % of 10 and 23.9 % of 5.
    """

    def __init__(self, options: MlmOptions, vocabulary: Vocabulary) -> None:
        if vocabulary.mask_id is None:
            raise PluginError("objective 'mlm': the encoder's tokenizer has no mask token")
        self.options = options
        self.mask_id = vocabulary.mask_id
        self.special_ids = np.array(sorted(vocabulary.special_ids), dtype=np.int64)
        self.random_ids = np.setdiff1d(np.arange(vocabulary.size), self.special_ids)

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Draw each example's targets and what is shown in their place from its own generator."""
        chosen = [self._choose(e, rng) for e, rng in zip(examples, generators, strict=True)]
        shown = [self._show(e, c, rng) for e, c, rng in zip(examples, chosen, generators, strict=True)]
        sizes = [len(position) for position in chosen]
        targets = {
            "labels": concatenate([e.input_ids_L[c] for e, c in zip(examples, chosen, strict=True)]),
            "example": example_index(sizes),
            "position": concatenate(chosen),
        }
        return TaskBatch(targets, torch.tensor(sizes, dtype=torch.float32), shown)

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (N, vocabulary size)."""
        return row_cross_entropy(outputs, targets, num_examples)

    def _choose(self, example: Encoded, rng: np.random.Generator) -> np.ndarray:
        special_L = example.special_L.astype(bool) | np.isin(example.input_ids_L, self.special_ids)
        candidates = np.flatnonzero(~special_L)
        chosen = candidates[rng.random(len(candidates)) < self.options.mask_prob]
        return chosen if len(chosen) or not len(candidates) else rng.choice(candidates, size=1)

    def _show(self, example: Encoded, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        ids_L = example.input_ids_L.copy()
        draw_T = rng.random(len(chosen))
        random_T = rng.choice(self.random_ids, size=len(chosen))
        masked = draw_T < self.options.replace_prob
        randomized = ~masked & (draw_T < self.options.replace_prob + self.options.random_prob)
        ids_L[chosen[masked]] = self.mask_id
        ids_L[chosen[randomized]] = random_T[randomized]
        return ids_L
