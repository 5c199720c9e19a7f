"""Span corruption (T5; Raffel et al. 2020, section 3.1.4): spans are left out, and written in their order."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from sslm_generation.options import SpanCorruptionOptions
from sslm_generation.rows import corrupted_batch, text_losses, text_of
from sslm_platform.api import Encoded, ObjectiveContext, PluginError, Targets, TaskBatch, Vocabulary

SENTINELS = (re.compile(r"<extra_id_(\d+)>"), re.compile(r"\[unused(\d+)\]"))  # T5's; BERT's spare tokens


class SpanCorruption:
    """-log p of what was left out, in nats; an example weighs its target tokens.

    ``Thank you for inviting me`` may be read as ``Thank <0> inviting <1>``; ``<0> you for <1> me`` and the
    end are written. Of n tokens round(n r) are left out, 1 at least and n - 1 at most, in round(n r / μ)
    spans: r is ``noise_density``, μ ``mean_span``. Lengths of the spans, and of what is between them, are
    uniform over all ways to cut such a number of tokens in so many parts; kept and left out take turns, and
    what is kept begins (``random_spans_noise_mask`` of the released code). So a text always loses its end,
    and one of a single span nothing else; ``roll`` moves all by a random number of tokens, around the end
    (``random_roll`` there). A text of one token has no target.
    """

    def __init__(self, options: SpanCorruptionOptions, context: ObjectiveContext) -> None:
        assert context.tokenizer is not None
        self.options = options
        self.end_id = context.tokenizer.end_id
        self.sentinels = sentinels_of(context.vocabulary)

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Draw each example's spans from its own generator."""
        texts = [text_of(example) for example in examples]
        masks = [self.noise(len(text_T), rng) for text_T, rng in zip(texts, generators, strict=True)]
        pairs = list(zip(texts, masks, strict=True))
        shown = [self.shown(text_T, noise_T) for text_T, noise_T in pairs]
        return corrupted_batch(examples, shown, [self.target(text_T, noise_T) for text_T, noise_T in pairs])

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (N, vocabulary size)."""
        return text_losses(outputs, targets, num_examples)

    def noise(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """Return which of a text's tokens are left out, (T,) bool."""
        if num < 2:
            return np.zeros(num, dtype=bool)
        num_noise = int(np.clip(round(num * self.options.noise_density), 1, num - 1))
        # of a rolled text the end and the beginning may be parts of a span
        most = max(1, min(num_noise, num - num_noise, len(self.sentinels) - self.options.roll))
        num_spans = int(np.clip(round(num_noise / self.options.mean_span), 1, most))
        kept, left_out = (segments(total, num_spans, rng) for total in (num - num_noise, num_noise))
        noise_T = np.repeat(np.arange(2 * num_spans) % 2 == 1, np.stack([kept, left_out], axis=1).ravel())
        return np.roll(noise_T, rng.integers(num)) if self.options.roll else noise_T

    def shown(self, text_T: np.ndarray, noise_T: np.ndarray) -> np.ndarray:
        """Return the text with a sentinel, the next each time, for each span of noise."""
        starts_T = _starts(noise_T)
        shown_T = text_T.copy()
        shown_T[starts_T] = self.sentinels[: np.count_nonzero(starts_T)]
        return shown_T[~noise_T | starts_T]

    def target(self, text_T: np.ndarray, noise_T: np.ndarray) -> np.ndarray:
        """Return what is to be written: each span after its sentinel, and the end; nothing without noise."""
        if not noise_T.any():
            return text_T[:0]
        first = np.flatnonzero(_starts(noise_T)[noise_T])
        return np.append(np.insert(text_T[noise_T], first, self.sentinels[: len(first)]), self.end_id)


def _starts(noise_T: np.ndarray) -> np.ndarray:
    return noise_T & ~np.concatenate([[False], noise_T[:-1]]) if len(noise_T) else noise_T


def segments(num: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Cut ``num`` items into ``parts`` runs of one item or more, all ways being equally likely; (parts,)."""
    cuts = np.sort(rng.permutation(num - 1)[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [num]]))


def sentinels_of(vocabulary: Vocabulary) -> np.ndarray:
    """Return the ids of the sentinels, the first one first.

    Raises:
        PluginError: the tokenizer has none.
    """
    for pattern in SENTINELS:
        matches = ((pattern.fullmatch(token), i) for i, token in enumerate(vocabulary.tokens))
        found = sorted((int(match[1]), i) for match, i in matches if match)
        if found:
            break
    else:
        raise PluginError(
            "objective 'span_corruption': the encoder's tokenizer has no tokens <extra_id_N> or [unusedN] to"
            " stand for spans; give one from scratch some with encoder.tokenizer.sentinels"
        )
    return np.array([i for _, i in found], dtype=np.int64)
