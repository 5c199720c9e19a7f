"""Replaced-token detection (ELECTRA; Clark et al. 2020): which tokens a small generator has put in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sslm_objectives.options import RtdOptions
from sslm_objectives.rows import concatenate, example_index, row_cross_entropy
from sslm_platform.api import Encoded, PluginError, Targets, TaskBatch, Vocabulary


class ReplacedTokenDetection:
    """λ · sum over tokens of -log p(replaced or not) + n · mean over hidden ones of -log p_generator(token).

    Of a text's n tokens round(n p) are hidden, 1 at least: none that is special or unknown. The generator's
    head restores them, and what it draws takes their place, which is the encoder's input; no gradient passes
    through the drawing. A token that is drawn as it was counts as original (section 2). An example weighs n,
    so that the mean loss is λ · L_disc + L_mlm (equation 3), both per token.
    """

    def __init__(self, options: RtdOptions, vocabulary: Vocabulary) -> None:
        if vocabulary.mask_id is None:
            raise PluginError("objective 'rtd': the encoder's tokenizer has no mask token")
        self.options = options
        self.mask_id = vocabulary.mask_id
        self.special_ids = np.array(sorted(vocabulary.special_ids), dtype=np.int64)

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Hide tokens; until the head has drawn others, all of them count as replaced."""
        texts = [np.flatnonzero(~example.special_L.astype(bool)) for example in examples]
        hidden = [
            self._hidden(e, text, rng) for e, text, rng in zip(examples, texts, generators, strict=True)
        ]
        sizes, num_hidden = [len(text) for text in texts], [len(places) for places in hidden]
        position_N = concatenate(texts)
        targets = {
            "labels": concatenate([np.isin(text, h) for text, h in zip(texts, hidden, strict=True)]),
            "example": example_index(sizes),
            "position": position_N,
            "end": position_N + 1,
            "word": concatenate([np.arange(size) for size in sizes]),
            "num_words": torch.tensor(sizes, dtype=torch.int64),
            "hidden_example": example_index(num_hidden),
            "hidden_position": concatenate(hidden),
            "hidden_ids": concatenate([e.input_ids_L[h] for e, h in zip(examples, hidden, strict=True)]),
            "draw": torch.from_numpy(
                np.concatenate([rng.random(n) for n, rng in zip(num_hidden, generators, strict=True)])
            ),
        }
        shown = [self._shown(e, h, rng) for e, h, rng in zip(examples, hidden, generators, strict=True)]
        return TaskBatch(targets, torch.tensor(sizes, dtype=torch.float32), shown)

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (N, 2) and, of the generator, ``generator_losses``, (M,)."""
        loss_B = self.options.weight * row_cross_entropy(outputs, targets, num_examples)
        loss_M = targets.get("generator_losses")
        if loss_M is None:
            return loss_B
        zeros_B = loss_M.new_zeros(num_examples)
        sum_B = zeros_B.index_add(0, targets["hidden_example"], loss_M)
        count_B = zeros_B.index_add(0, targets["hidden_example"], torch.ones_like(loss_M))
        return loss_B + sum_B / count_B.clamp(min=1.0) * targets["num_words"]

    def _hidden(self, example: Encoded, text: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the places of the tokens to be restored, rising."""
        known = text[~np.isin(example.input_ids_L[text], self.special_ids)]
        number = min(len(known), max(1, round(len(text) * self.options.mask_prob)))
        return np.sort(rng.permutation(known)[:number])

    def _shown(self, example: Encoded, hidden: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return what the generator reads: most of the hidden tokens as the mask."""
        ids_L = example.input_ids_L.copy()
        ids_L[hidden[rng.random(len(hidden)) < self.options.replace_prob]] = self.mask_id
        return ids_L
