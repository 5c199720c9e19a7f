"""Language modelling from left to right: of a text, or of a second text after a first (UniLM)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sslm_objectives.rows import concatenate, example_index, row_cross_entropy
from sslm_platform.api import Encoded, PluginError, Targets, TaskBatch, Vocabulary


class _NextToken:
    """Negative log-likelihood of some tokens, each from the state of the token before it.

    -sum_i log p(x_i | x_<i) in nats over the targets i; an example weighs their number, so that the mean's
    exponential is the perplexity per token. Unknown tokens are no targets.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.special_ids = np.array(sorted(vocabulary.special_ids), dtype=np.int64)

    def batch(self, examples: Sequence[Encoded], places: Sequence[np.ndarray]) -> TaskBatch:
        """Make targets of the tokens at these places, 1 or later, of each example."""
        sizes = [len(place) for place in places]
        targets = {
            "labels": concatenate([e.input_ids_L[p] for e, p in zip(examples, places, strict=True)]),
            "example": example_index(sizes),
            "position": concatenate([place - 1 for place in places]),
        }
        return TaskBatch(targets, torch.tensor(sizes, dtype=torch.float32))

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return (B,) nats from logits (N, vocabulary size)."""
        return row_cross_entropy(outputs, targets, num_examples)

    def text_of(self, example: Encoded) -> np.ndarray:
        """Whether each token is text that the tokenizer knows, (L,)."""
        return ~(example.special_L.astype(bool) | np.isin(example.input_ids_L, self.special_ids))


class CausalLanguageModelling(_NextToken):
    """Every token of a text from those before it (Radford et al. 2018, equation 1).

    The first is predicted from the tokenizer's start token; where it has none, the first is no target.
    Special tokens are none either: an end is no end where the text was truncated.
    """

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Make a row of each token of text but one that nothing comes before."""
        return self.batch(examples, [1 + np.flatnonzero(self.text_of(e)[1:]) for e in examples])


class PrefixLanguageModelling(_NextToken):
    """A second text from a first one and from what comes before (UniLM; Dong et al. 2019, section 2.3).

    Both are encoded as a pair. All tokens see the first text with the special tokens around it, those of the
    second also what is before them there. Targets are the tokens of the second text and the special token
    that ends it, from which a decoder knows where to stop.
    """

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Find where each second text begins, and make a row of each of its tokens."""
        prefixes = [_second_text(example) for example in examples]
        places = [self._targets(e, prefix) for e, prefix in zip(examples, prefixes, strict=True)]
        batch = self.batch(examples, places)
        return TaskBatch(batch.targets, batch.weight_B, prefix_B=torch.tensor(prefixes, dtype=torch.int64))

    def _targets(self, example: Encoded, prefix: int) -> np.ndarray:
        length = len(example.input_ids_L)
        is_target_L = self.text_of(example)
        is_target_L[:prefix] = False
        if prefix < length and example.special_L[-1]:
            is_target_L[-1] = True
        return np.flatnonzero(is_target_L)


class PrefixWriting(_NextToken):
    """The same of a target text, for heads that generate: all of its tokens are targets, and its end."""

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Make a row of each token after the first text; ``prefix`` is how many tokens that has."""
        prefixes = [_first_text(example) for example in examples]
        places = [np.arange(p, len(e.input_ids_L)) for e, p in zip(examples, prefixes, strict=True)]
        batch = self.batch(examples, places)
        prefix_B = torch.tensor(prefixes, dtype=torch.int64)
        position_N = batch.targets["position"] + 1 - prefix_B[batch.targets["example"]]
        targets = {**batch.targets, "position": position_N, "prefix": prefix_B}
        return TaskBatch(targets, batch.weight_B, prefix_B=prefix_B)


def _first_text(example: Encoded) -> int:
    """Return how many tokens come before the second text."""
    assert example.segment_L is not None, "a target that is read is a second text"
    prefix = int(np.count_nonzero(example.segment_L == 0))
    if not example.special_L[prefix - 1]:
        raise PluginError("objective 'prefix_lm': the encoder's tokenizer puts no special token after a text")
    return prefix


def _second_text(example: Encoded) -> int:
    """Return where the second run of text begins, or the number of tokens if there is none."""
    special_L = example.special_L.astype(bool)
    if len(special_L) and not special_L.any():
        raise PluginError(
            "objective 'prefix_lm': the encoder's tokenizer puts no special token between two texts"
        )
    starts = np.flatnonzero(~special_L & np.concatenate([[True], special_L[:-1]]))
    return int(starts[1]) if len(starts) > 1 else len(special_L)
