"""Masked language modelling (Devlin et al. 2019, section 3.1), of tokens, whole words or spans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sslm_objectives.options import MlmOptions
from sslm_objectives.rows import concatenate, example_index, row_cross_entropy
from sslm_objectives.words import WordStarts
from sslm_platform.api import Encoded, PluginError, Targets, TaskBatch, Vocabulary


class MaskedLanguageModelling:
    """Hide some tokens and restore them; an example weighs its number of targets.

    Candidates are the tokens that are neither special nor unknown. Which of them are targets:

    - ``token``: each with ``mask_prob``. An example of n candidates that drew none gets one at random, so
      that no slot is empty: its expected number of targets is n p + (1 - p)^n, which for p = 0.15 is 15.0 %
      of 30 tokens, 17.0 % of 10 and 23.9 % of 5.
    - ``word``: the same of words, all of whose tokens are targets then (Cui et al. 2021, section 3.1).
    - ``span``: spans of whole words until there are n p targets (rounded at random, 1 at least), where the
      last span is cut off. A span begins at a random word that is no target yet; it has k words, at most
      ``max_span``, with a probability in proportion to (1 - q)^(k - 1), q = ``span_prob`` (SpanBERT; Joshi
      et al. 2020, section 3.1).

    A target is shown as the mask token, a random token or as it is; a span's targets all alike.
    """

    def __init__(self, options: MlmOptions, vocabulary: Vocabulary) -> None:
        if vocabulary.mask_id is None:
            raise PluginError("objective 'mlm': the encoder's tokenizer has no mask token")
        self.options = options
        self.mask_id = vocabulary.mask_id
        self.special_ids = np.array(sorted(vocabulary.special_ids), dtype=np.int64)
        self.random_ids = np.setdiff1d(np.arange(vocabulary.size), self.special_ids)
        self.words = None if options.unit == "token" else WordStarts(vocabulary, options.segmenter)
        share_K = (1.0 - options.span_prob) ** np.arange(options.max_span)
        self.span_shares = share_K / share_K.sum()

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Draw each example's targets and what is shown in their place from its own generator."""
        drawn = [self._choose(e, rng) for e, rng in zip(examples, generators, strict=True)]
        shown = [self._show(e, *d, rng) for e, d, rng in zip(examples, drawn, generators, strict=True)]
        chosen = [position for position, _ in drawn]
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

    def _choose(self, example: Encoded, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the targets' positions, increasing, and for each which targets are shown alike with it."""
        special_L = example.special_L.astype(bool) | np.isin(example.input_ids_L, self.special_ids)
        candidates = np.flatnonzero(~special_L)
        if self.words is None:
            word_C = np.arange(len(candidates))
        else:
            word_C = np.cumsum(self.words(example.input_ids_L, candidates)) - 1
        if self.options.unit == "span":
            span_C = self._spans(word_C, rng)
            return candidates[span_C >= 0], span_C[span_C >= 0]
        num_words = int(word_C[-1]) + 1 if len(word_C) else 0
        words = np.flatnonzero(rng.random(num_words) < self.options.mask_prob)
        if not len(words) and num_words:
            words = rng.choice(num_words, size=1)
        chosen = candidates[np.isin(word_C, words)]
        return chosen, np.arange(len(chosen))

    def _spans(self, word_C: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the span of each candidate, -1 for those that are no targets."""
        span_C = np.full(len(word_C), -1)
        if not len(word_C):
            return span_C
        budget = max(1, int(np.floor(len(word_C) * self.options.mask_prob + rng.random())))
        bounds_W = np.flatnonzero(np.diff(word_C, prepend=-1, append=word_C[-1] + 1))
        number, left = 0, budget
        while left:
            first = int(word_C[rng.choice(np.flatnonzero(span_C < 0))])
            length = 1 + int(rng.choice(len(self.span_shares), p=self.span_shares))
            end = bounds_W[min(first + length, len(bounds_W) - 1)]
            inside = np.arange(bounds_W[first], end)
            new = inside[span_C[inside] < 0][:left]
            span_C[new] = number
            number, left = number + 1, left - len(new)
        return span_C

    def _show(
        self, example: Encoded, chosen: np.ndarray, alike: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        ids_L = example.input_ids_L.copy()
        draw_T = rng.random(len(chosen))[alike]
        random_T = rng.choice(self.random_ids, size=len(chosen))
        masked = draw_T < self.options.replace_prob
        randomized = ~masked & (draw_T < self.options.replace_prob + self.options.random_prob)
        ids_L[chosen[masked]] = self.mask_id
        ids_L[chosen[randomized]] = random_T[randomized]
        return ids_L
