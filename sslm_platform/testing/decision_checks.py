"""Checks of heads that decide by what was tuned on dev."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from sslm_platform.interfaces import Scored
from sslm_platform.testing import data
from sslm_platform.testing.head_cases import HeadCase, build, examples_of, outputs_of


def _scored(case: HeadCase, head: Any) -> Scored:
    """Return what a dev split would show: the head's own scores beside references of the kind."""
    examples = data.make_examples(data.head_needs(case.kind, tied=case.definition.tied), 20)
    targets = data.make_targets(case.kind, examples).targets
    with torch.no_grad():
        scores = head.scores(outputs_of(case, head, examples), targets, len(examples))
    references = data.make_scored(case.kind, num=len(examples)).references
    ones_N = np.ones(len(examples))
    return Scored(list(head.decide(scores)), references, ones_N, ones_N, list(scores))


def check_decisions_are_predictions(case: HeadCase) -> None:
    """``decide(scores(...))`` is what ``predict`` says."""
    examples, head = examples_of(case), build(case).eval()
    targets = data.make_targets(case.kind, examples).targets
    with torch.no_grad():
        outputs = outputs_of(case, head, examples)
        predictions = head.predict(outputs, targets, len(examples))
        decided = head.decide(head.scores(outputs, targets, len(examples)))
    for prediction, decision in zip(predictions, decided, strict=True):
        assert np.array_equal(prediction, decision), f"predict says {prediction}, decide says {decision}"


def check_threshold_is_saved(case: HeadCase) -> None:
    """A restored head decides as the tuned one does: ``tune`` sets buffers and nothing else."""
    tuned, restored = build(case).eval(), build(case, seed=2).eval()
    scored = _scored(case, tuned)
    tuned.tune(scored)
    restored.load_state_dict(load(save({k: v.contiguous() for k, v in tuned.state_dict().items()})))
    for one, other in zip(tuned.decide(scored.scores), restored.decide(scored.scores), strict=True):
        assert np.array_equal(one, other), "a restored head decides otherwise: keep the threshold in a buffer"


def check_tune_ignores_order(case: HeadCase) -> None:
    """The dev split's order does not matter: ranks and resumed runs see it in another."""
    head, other = build(case).eval(), build(case).eval()
    scored = _scored(case, head)
    head.tune(scored)
    other.tune(scored.take(range(len(scored))[::-1]))
    for name, value in head.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), f"{name} depends on the order of the dev split"


def check_tuned_scores(case: HeadCase) -> None:
    """Scores that ``tune`` returns are those that the head gives from then on."""
    head = build(case).eval()
    tuned = head.tune(_scored(case, head))
    for one, again in zip(tuned or (), _scored(case, head).scores or (), strict=False):
        assert np.allclose(one, again, atol=1e-9), "scores() are others than tune() returned"


DECIDING_HEAD = (
    check_decisions_are_predictions,
    check_threshold_is_saved,
    check_tune_ignores_order,
    check_tuned_scores,
)
