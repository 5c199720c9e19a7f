"""Denoising (BART; Lewis et al. 2020, section 2.2): a text is written as it was before noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from sslm_generation.options import DenoisingOptions
from sslm_generation.rows import corrupted_batch, text_losses, text_of
from sslm_platform.api import Encoded, ObjectiveContext, PluginError, Targets, TaskBatch

CLOSING = frozenset(".!?…。\uff01\uff1f")  # the last two are full-width


class Denoising:
    """-log p of the whole text and its end, in nats; an example weighs its tokens and the end.

    Noise, in this order, each from the example's own generator:

    - ``permute``: the sentences change places, all orders being equally likely. One ends at a token that
      closes it; what follows the last such token is one too.
    - ``infill``: spans are drawn, of lengths that are Poisson(``mean_span``), until they hold this share of
      the tokens (rounded at random; the last one is cut off there), and put anywhere between the tokens that
      are left, so that the ends of a text are hidden less often. Each is shown as one mask token: one of
      length 0 hides nothing and is only a mask more. There are never more masks than hidden tokens, so that
      no text gets longer.
    - ``delete``: each other token is left out with this chance.
    """

    def __init__(self, options: DenoisingOptions, context: ObjectiveContext) -> None:
        vocabulary, tokenizer = context.vocabulary, context.tokenizer
        assert tokenizer is not None
        if vocabulary.mask_id is None and options.infill:
            raise PluginError(
                "objective 'denoising': the encoder's tokenizer has no mask token: set infill: 0"
            )
        self.options = options
        self.mask_id, self.end_id = vocabulary.mask_id, tokenizer.end_id
        closing = [i for i, token in enumerate(vocabulary.tokens) if token.strip("▁Ġ#") in CLOSING]
        self.closing_ids = np.array(closing, dtype=np.int64)

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Draw each example's noise from its own generator."""
        texts = [text_of(example) for example in examples]
        shown = [self.noisy(text_T, rng) for text_T, rng in zip(texts, generators, strict=True)]
        labels = [np.append(text_T, self.end_id)[: None if len(text_T) else 0] for text_T in texts]
        return corrupted_batch(examples, shown, labels)

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (N, vocabulary size)."""
        return text_losses(outputs, targets, num_examples)

    def noisy(self, text_T: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the text with noise; no more tokens than it had."""
        if self.options.permute and len(text_T):
            text_T = self.permuted(text_T, rng)
        is_mask_T = np.zeros(len(text_T), dtype=bool)
        if self.options.infill and len(text_T):
            text_T, is_mask_T = self.infilled(text_T, rng)
        if self.options.delete:
            text_T = text_T[is_mask_T | (rng.random(len(text_T)) >= self.options.delete)]
        return text_T

    def permuted(self, text_T: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the text's sentences in another order."""
        is_end_T = np.isin(text_T, self.closing_ids)
        is_end_T[:-1] &= ~is_end_T[1:]  # of "?!" the second
        sentences = np.split(text_T, 1 + np.flatnonzero(is_end_T[:-1]))
        return np.concatenate([sentences[i] for i in rng.permutation(len(sentences))])

    def infilled(self, text_T: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the text with masks for spans, and where they are."""
        budget = int(np.floor(len(text_T) * self.options.infill + rng.random()))
        lengths = _lengths(budget, self.options.mean_span, rng)
        num_items = len(text_T) - budget + len(lengths)
        is_span_I = np.zeros(num_items, dtype=bool)
        is_span_I[rng.permutation(num_items)[: len(lengths)]] = True
        size_I = np.ones(num_items, dtype=np.int64)
        size_I[is_span_I] = lengths
        first_I = np.cumsum(size_I) - size_I  # of each kept token or span, its first token in the text
        shown_I = np.full(num_items, self.mask_id if self.mask_id is not None else 0)
        shown_I[~is_span_I] = text_T[first_I[~is_span_I]]
        return shown_I, is_span_I


def _lengths(budget: int, mean: float, rng: np.random.Generator) -> list[int]:
    """Return Poisson lengths of the sum ``budget``, and no more of them than that."""
    lengths: list[int] = []
    left = budget
    while left:
        length = min(int(rng.poisson(mean)), left)
        left -= length
        lengths.append(length)
    surplus = max(0, len(lengths) - budget)
    empty = [i for i, length in enumerate(lengths) if not length][:surplus]
    return [length for i, length in enumerate(lengths) if i not in empty]
