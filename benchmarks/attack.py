"""Word substitution by the victim's own probabilities: PWWS (Ren et al. 2019, ACL, algorithm 1).

Each word's best substitute is the synonym that lowers the probability of the true label most. Words are tried
in order of that drop times the softmax of their saliency, the drop when the word is unknown, until the label
changes or the budget is spent. Here only words that are themselves in the list of synonyms are replaced (no
inflected forms), function words stay, and the budget is a share of the words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from learning import Fit
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from sslm_platform.data.batching import collate_inputs
from sslm_platform.data.encodings import encode_inputs
from sslm_platform.evaluate import evaluation_batches
from sslm_platform.model.multitask import task_outputs

Probabilities = Callable[[Sequence[str]], np.ndarray]
"""Texts to the probability of each label, (N, labels)."""

WORD = re.compile(r"[A-Za-z]{3,}")


@dataclass(frozen=True)
class Budget:
    """What an attack may do: the same for every victim."""

    share: float = 0.2  # of a text's words, one at least
    candidates: int = 8  # synonyms of a word, the best first


@dataclass(frozen=True)
class Attacked:
    """What became of a text: ``text`` has another label than the true one if ``fooled``."""

    text: str
    fooled: bool
    replaced: int
    queries: int


def attack(
    text: str,
    label: int,
    probabilities: Probabilities,
    synonyms: Mapping[str, Sequence[str]],
    unknown: str,
    budget: Budget,
) -> Attacked:
    """Attack a text whose label the victim knows."""
    places = [
        m for m in WORD.finditer(text)
        if m.group().lower() in synonyms and m.group().lower() not in ENGLISH_STOP_WORDS
    ]  # fmt: skip
    if not places:
        return Attacked(text, False, 0, 0)
    trials = [(place, unknown) for place in places]
    for place in places:
        others = synonyms[place.group().lower()][: budget.candidates]
        trials += [(place, _cased(other, place.group())) for other in others]
    true_N = probabilities([text, *(_replaced(text, [trial]) for trial in trials)])[:, label]
    drops = dict(zip(trials, true_N[0] - true_N[1:], strict=True))
    saliency_W = np.array([drops[place, unknown] for place in places])
    saliency_W = np.exp(saliency_W - saliency_W.max())
    saliency_W /= saliency_W.sum()
    scored = []
    for place, saliency in zip(places, saliency_W, strict=True):
        best = max((t for t in trials if t[0] is place and t[1] != unknown), key=lambda trial: drops[trial])
        if drops[best] > 0:
            scored.append((drops[best] * saliency, best))
    scored.sort(key=lambda pair: -pair[0])
    most = max(1, int(budget.share * len(text.split())))
    steps = [[best for _, best in scored[:number]] for number in range(1, min(most, len(scored)) + 1)]
    texts = [_replaced(text, chosen) for chosen in steps]
    labels = probabilities(texts).argmax(axis=-1) if texts else []
    for number, (changed, found) in enumerate(zip(texts, labels, strict=True), start=1):
        if found != label:
            return Attacked(changed, True, number, len(trials) + number)
    return Attacked(texts[-1] if texts else text, False, len(texts), len(trials) + len(texts))


def _replaced(text: str, chosen: Sequence[tuple[re.Match, str]]) -> str:
    for place, other in sorted(chosen, key=lambda pair: -pair[0].start()):
        text = text[: place.start()] + other + text[place.end() :]
    return text


def _cased(word: str, like: str) -> str:
    return word.capitalize() if like[0].isupper() else word


def victim(fit: Fit) -> Probabilities:
    """Return what a trained model of one task says of texts."""
    ((name, model),) = fit.model.tasks.items()
    corpus, engine = fit.training.corpus, fit.engine
    length, pad_id = corpus.run.spec.encoder.max_length, corpus.vocabulary.pad_id
    for module in (engine.encoder, *fit.model.heads.values()):
        module.eval()

    @torch.no_grad()
    def probabilities(texts: Sequence[str]) -> np.ndarray:
        examples = encode_inputs({"text": list(texts)}, corpus.tokenizer, length)
        found_NC = np.zeros((len(texts), model.width))
        for rows in evaluation_batches(np.array([len(e.input_ids_L) for e in examples])):
            inputs = collate_inputs([examples[row] for row in rows], None, pad_id)
            tensors = {
                "input_ids_BL": inputs.input_ids_BL.to(engine.device),
                "mask_BL": inputs.mask_BL.to(engine.device),
                "segment_BL": None,  # one text: all of one segment
            }
            logits_BC = task_outputs(engine.encoder, {name: model.head}, tensors, {name: {}})[name]
            found_NC[rows] = torch.softmax(logits_BC.float(), dim=-1).cpu().numpy()
        return found_NC

    return probabilities
