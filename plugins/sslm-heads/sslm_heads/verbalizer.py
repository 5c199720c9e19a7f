"""Labels as words that a language model puts in a mask's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sslm_heads.lm import Projection
from sslm_heads.options import RANDOM, VerbalizerOptions
from sslm_platform.api import HeadContext, Problem, SpecError, Targets, TextTokenizer, suggest

NO_TOKEN = -1


class Verbalizer(nn.Module):
    """Logits (B, num_labels): the log probabilities of each label's words at a template's masks.

    Schick & Schütze 2021, "Exploiting Cloze Questions for Few Shot Text Classification and Natural Language
    Inference" (PET), section 3.1.

    A word of j tokens is scored by the mean log probability of its tokens at the first j masks, all masked at
    once; a label by the mean of its words. With one mask and one token each that is PET's score: the
    probabilities of the labels are the language model's, among their words.

    Raises:
        SpecError: on construction; words lack a label or name another, or need more masks than there are.
    """

    word_JW: Tensor
    label_W: Tensor

    def __init__(self, options: VerbalizerOptions, context: HeadContext) -> None:
        super().__init__()
        assert context.tokenizer is not None, "a head that reads masks gets the encoder's tokenizer"
        self.lm = Projection(context)
        self.num_masks, self.num_labels = context.num_masks, len(context.labels)
        if options.words == RANDOM:
            tokens = [[token] for token in _random_words(context, options.seed)]
            owners = list(range(self.num_labels))
        else:
            assert not isinstance(options.words, str)
            words = _words(options.words, context.labels)
            tokens = context.tokenizer.encode([f" {word}" for _, word in words])
            _check_masks([word for _, word in words], tokens, self.num_masks)
            owners = [owner for owner, _ in words]
        table_JW = np.full((self.num_masks, len(tokens)), NO_TOKEN)
        for column, ids in enumerate(tokens):
            table_JW[: len(ids), column] = ids
        self.register_buffer("word_JW", torch.from_numpy(table_JW))
        self.register_buffer("label_W", torch.tensor(owners))

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Return the states of each example's masks side by side, (B, num_masks · D)."""
        rows_B1 = torch.arange(len(hidden_BLD), device=hidden_BLD.device).unsqueeze(1)
        return hidden_BLD[rows_B1, targets["markers"]].flatten(1)

    def transform(self, features: Tensor) -> Tensor:
        """Map (B, num_masks · D) to the (B · num_masks, D) that is multiplied with the embedding matrix."""
        return self.lm.transform(features.view(len(features) * self.num_masks, -1))

    def forward(self, projected_NV: Tensor) -> Tensor:
        """Map products with the embedding matrix, (B · num_masks, vocabulary size), to (B, num_labels)."""
        log_p_NV = torch.log_softmax(self.lm(projected_NV).float(), dim=-1)
        log_p_BJV = log_p_NV.view(-1, self.num_masks, log_p_NV.shape[-1])
        is_token_JW = self.word_JW != NO_TOKEN
        index_BJW = self.word_JW.clamp(min=0).expand(len(log_p_BJV), -1, -1)
        score_BJW = log_p_BJV.gather(2, index_BJW).masked_fill(~is_token_JW, 0.0)
        score_BW = score_BJW.sum(dim=1) / is_token_JW.sum(dim=0)
        sum_BK = score_BW.new_zeros(len(score_BW), self.num_labels).index_add(1, self.label_W, score_BW)
        return sum_BK / torch.bincount(self.label_W, minlength=self.num_labels)

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[int]:
        """Return the id of each example's likeliest label."""
        return outputs.argmax(dim=-1).tolist()


def _words(given: Mapping[str, Sequence[str]], labels: Sequence[str]) -> list[tuple[int, str]]:
    """Return pairs of a label's id and one of its words."""
    problems = [Problem(f"words.{n}", f"no such label{suggest(n, labels)}") for n in given if n not in labels]
    problems += [Problem("words", f"the label {label!r} has none") for label in labels if label not in given]
    if problems:
        raise SpecError(*problems)
    return [(owner, word) for owner, label in enumerate(labels) for word in given[label]]


def _check_masks(words: Sequence[str], tokens: Sequence[Sequence[int]], num_masks: int) -> None:
    problems = []
    for word, ids in zip(words, tokens, strict=True):
        if not 1 <= len(ids) <= num_masks:
            what = f"{word!r} is {len(ids)} tokens, and the template has {num_masks} masks"
            problems.append(Problem("words", f"{what}: write {{mask}} once for each token"))
    if problems:
        raise SpecError(*problems)


def _random_words(context: HeadContext, seed: int) -> list[int]:
    """Draw a token that is a word by itself for each label."""
    tokenizer: TextTokenizer | None = context.tokenizer
    assert tokenizer is not None
    generator, found = np.random.default_rng(seed), list[int]()
    for token in generator.permutation(tokenizer.size).tolist():
        if tokenizer.decode([[token]])[0].isalpha() and len(found) < len(context.labels):
            found.append(token)
    return found
