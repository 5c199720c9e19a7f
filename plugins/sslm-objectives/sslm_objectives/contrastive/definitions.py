"""Definitions of the objectives that compare texts."""

from __future__ import annotations

from collections.abc import Iterable

from sslm_objectives.contrastive.options import (
    CpcOptions,
    FutureOptions,
    MultipleNegativesOptions,
    SimcseOptions,
)
from sslm_platform.api import (
    AttentionPattern,
    Field,
    FieldKind,
    Objective,
    ObjectiveContext,
    ObjectiveDef,
    Options,
    OutputKind,
    Problem,
)

OF_TEXTS = {OutputKind.VECTORS: {"text": Field(FieldKind.TEXT)}}


TO_RANK = {
    "text": Field(FieldKind.TEXT),
    "answer": Field(FieldKind.TEXT, summary="read by itself, as the text is"),
    "negatives": Field(FieldKind.TEXTS, required=False, summary="texts that are known to be no answer"),
}
TO_CHOOSE = {
    "text": Field(FieldKind.TEXT),
    "candidates": Field(FieldKind.TEXTS, summary="each read with the text"),
    "choice": Field(FieldKind.CHOICE),
}


def _check_steps(options: CpcOptions, head: Options) -> Iterable[Problem]:
    steps = getattr(head, "steps", options.steps_ahead)
    if steps < options.steps_ahead:
        what = f"is {options.steps_ahead}, and the head has predictors for {steps}: set its option steps"
        yield Problem("steps_ahead", what)
    if getattr(head, "pooling", "mean") == "cls":
        what = "needs the head's pooling mean: read from left to right, a first token has seen nothing else"
        yield Problem("segment_tokens", what)


def _build_simcse(options: SimcseOptions, context: ObjectiveContext) -> Objective:
    from sslm_objectives.contrastive.simcse import SimCSE

    return SimCSE(options)


def _build_cpc(options: CpcOptions, context: ObjectiveContext) -> Objective:
    from sslm_objectives.contrastive.future import ContrastivePredictiveCoding

    return ContrastivePredictiveCoding(options)


def _build_future_regression(options: FutureOptions, context: ObjectiveContext) -> Objective:
    from sslm_objectives.contrastive.future import FutureRegression

    return FutureRegression(options)


def _build_multiple_negatives(options: SimcseOptions, context: ObjectiveContext) -> Objective:
    from sslm_objectives.contrastive.ranking import MultipleNegatives

    return MultipleNegatives(options)


def _build_choice(options: Options, context: ObjectiveContext) -> Objective:
    from sslm_objectives.contrastive.ranking import ChoiceCrossEntropy

    return ChoiceCrossEntropy()


DEFINITIONS = (
    ObjectiveDef(
        name="simcse",
        build=_build_simcse,
        needs=OF_TEXTS,
        options=SimcseOptions,
        changes_input=True,
        additive=False,
        variants=True,
        encoder_calls=2,
        summary="SimCSE: two readings of a text, by dropout or augmenters, told from other texts.",
    ),
    ObjectiveDef(
        name="cpc",
        build=_build_cpc,
        needs=OF_TEXTS,
        options=CpcOptions,
        changes_input=True,
        additive=False,
        attention=AttentionPattern.CAUSAL,
        encoder_calls=2,
        check=_check_steps,
        summary="Contrastive predictive coding: a text's next segments told from others.",
    ),
    ObjectiveDef(
        name="future_regression",
        build=_build_future_regression,
        needs=OF_TEXTS,
        options=FutureOptions,
        changes_input=True,
        additive=False,
        attention=AttentionPattern.CAUSAL,
        encoder_calls=2,
        check=_check_steps,
        summary="Predictive pre-training: a text's next segments' states, kept from collapsing.",
    ),
    ObjectiveDef(
        name="multiple_negatives",
        build=_build_multiple_negatives,
        needs={OutputKind.RANKING: TO_RANK},
        options=MultipleNegativesOptions,
        additive=False,
        encoder_calls=2,
        summary="An answer told from the batch's other answers and from hard negatives.",
    ),
    ObjectiveDef(
        name="choice_cross_entropy",
        build=_build_choice,
        needs={OutputKind.CHOICE_LOGITS: TO_CHOOSE},
        summary="Negative log-likelihood of the right one of an example's candidates.",
    ),
)
