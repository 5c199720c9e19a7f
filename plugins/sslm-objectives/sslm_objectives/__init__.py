"""Objectives of sslm-platform. Torch is imported when an objective is built, not here."""

from __future__ import annotations

from collections.abc import Iterable

from sslm_objectives.contrastive.definitions import DEFINITIONS as CONTRASTIVE
from sslm_objectives.options import (
    BinaryCrossEntropyOptions,
    CrossEntropyOptions,
    MlmOptions,
    RtdOptions,
)
from sslm_objectives.wrappers.definitions import DEFINITIONS
from sslm_platform.api import (
    AttentionPattern,
    Field,
    FieldKind,
    Objective,
    ObjectiveContext,
    ObjectiveDef,
    Options,
    OutputKind,
    WrapperDef,
    hookimpl,
)

TEXT = Field(FieldKind.TEXT)
TEXT_PAIR = Field(FieldKind.TEXT, required=False, summary="a second text, encoded with the first")
TARGET_TEXT = Field(FieldKind.TEXT, summary="the text to generate, encoded after the first")

INPUTS = {
    "text": TEXT,
    "text_pair": TEXT_PAIR,
    "tokens": Field(FieldKind.TOKENS, instead_of="text"),
    "spans": Field(FieldKind.SPANS, required=False, summary="two of its spans, which get markers"),
}


@hookimpl
def sslm_objectives() -> Iterable[ObjectiveDef]:
    """Register the built-in objectives."""
    return (
        ObjectiveDef(
            name="cross_entropy",
            build=_build_cross_entropy,
            needs={
                OutputKind.SEQUENCE_LOGITS: {
                    **INPUTS,
                    "label": Field(FieldKind.LABEL),
                },
                OutputKind.TOKEN_LOGITS: {
                    "tokens": Field(FieldKind.TOKENS),
                    "tags": Field(FieldKind.TAGS),
                },
            },
            options=CrossEntropyOptions,
            summary="Negative log-likelihood of a label, or of each word's tag.",
        ),
        ObjectiveDef(
            name="binary_cross_entropy",
            build=_build_binary_cross_entropy,
            needs={
                OutputKind.LABEL_SET_LOGITS: {
                    **INPUTS,
                    "labels": Field(FieldKind.LABELS),
                },
            },
            options=BinaryCrossEntropyOptions,
            summary="Each label by itself, for examples with any number of labels.",
        ),
        ObjectiveDef(
            name="span_cross_entropy",
            build=_build_span_cross_entropy,
            needs={
                OutputKind.SPAN_LOGITS: {
                    "question": Field(FieldKind.TEXT),
                    "context": Field(FieldKind.TEXT, summary="of any length: read in windows"),
                    "answers": Field(FieldKind.ANSWERS),
                },
            },
            summary="Where in a context the answer to a question begins and ends, or that it has none.",
        ),
        ObjectiveDef(
            name="mse",
            build=_build_mse,
            needs={
                OutputKind.SEQUENCE_VALUES: {
                    **INPUTS,
                    "value": Field(FieldKind.VALUE),
                },
            },
            summary="Squared error of a value.",
        ),
        ObjectiveDef(
            name="mlm",
            build=_build_mlm,
            needs={OutputKind.VOCABULARY_LOGITS: {"text": TEXT}},
            options=MlmOptions,
            changes_input=True,
            summary="Masked language modelling: restore hidden tokens.",
        ),
        ObjectiveDef(
            name="rtd",
            build=_build_rtd,
            needs={OutputKind.TOKEN_LOGITS: {"text": TEXT}},
            options=RtdOptions,
            changes_input=True,
            rewritten=True,
            labels=("original", "replaced"),
            summary="Replaced-token detection: which tokens a small generator has put in (ELECTRA).",
        ),
        ObjectiveDef(
            name="clm",
            build=_build_clm,
            needs={OutputKind.VOCABULARY_LOGITS: {"text": TEXT}},
            attention=AttentionPattern.CAUSAL,
            summary="Causal language modelling: each token from those before it.",
        ),
        ObjectiveDef(
            name="sop",
            build=_build_sop,
            needs={OutputKind.SEQUENCE_LOGITS: {"text": TEXT}},
            changes_input=True,
            labels=("ordered", "swapped"),
            summary="Sentence order: whether the halves of a text were swapped.",
        ),
        ObjectiveDef(
            name="nsp",
            build=_build_nsp,
            needs={OutputKind.SEQUENCE_LOGITS: {"text": TEXT}},
            changes_input=True,
            labels=("next", "other"),
            partners=True,
            summary="Next sentences: whether the second half is of another text.",
        ),
        ObjectiveDef(
            name="prefix_lm",
            build=_build_prefix_lm,
            needs={
                OutputKind.VOCABULARY_LOGITS: {"text": TEXT, "target_text": TARGET_TEXT},
                OutputKind.GENERATED_TEXT: {
                    "text": TEXT,
                    "target": Field(FieldKind.TARGET_TEXT, read=True, summary="the text to generate"),
                },
            },
            attention=AttentionPattern.PREFIX,
            summary="Prefix language modelling: a second text, token by token, after a first one read whole.",
        ),
        *CONTRASTIVE,
    )


@hookimpl
def sslm_wrappers() -> Iterable[WrapperDef]:
    """Register the built-in wrappers."""
    return DEFINITIONS


def _build_cross_entropy(options: CrossEntropyOptions, context: ObjectiveContext) -> Objective:
    from sslm_objectives.cross_entropy import SequenceCrossEntropy, TokenCrossEntropy

    if context.emits is OutputKind.TOKEN_LOGITS:
        return TokenCrossEntropy(options, context)
    return SequenceCrossEntropy(options, context)


def _build_binary_cross_entropy(options: BinaryCrossEntropyOptions, context: ObjectiveContext) -> Objective:
    from sslm_objectives.binary_cross_entropy import BinaryCrossEntropy

    return BinaryCrossEntropy(options, context)


def _build_span_cross_entropy(options: Options, context: ObjectiveContext) -> Objective:
    from sslm_objectives.span_cross_entropy import SpanCrossEntropy

    return SpanCrossEntropy()


def _build_mse(options: Options, context: ObjectiveContext) -> Objective:
    from sslm_objectives.mse import MeanSquaredError

    return MeanSquaredError()


def _build_mlm(options: MlmOptions, context: ObjectiveContext) -> Objective:
    from sslm_objectives.mlm import MaskedLanguageModelling

    return MaskedLanguageModelling(options, context.vocabulary)


def _build_rtd(options: RtdOptions, context: ObjectiveContext) -> Objective:
    from sslm_objectives.rtd import ReplacedTokenDetection

    return ReplacedTokenDetection(options, context.vocabulary)


def _build_clm(options: Options, context: ObjectiveContext) -> Objective:
    from sslm_objectives.next_token import CausalLanguageModelling

    return CausalLanguageModelling(context.vocabulary)


def _build_prefix_lm(options: Options, context: ObjectiveContext) -> Objective:
    from sslm_objectives.next_token import PrefixLanguageModelling, PrefixWriting

    if context.emits is OutputKind.GENERATED_TEXT:
        return PrefixWriting(context.vocabulary)
    return PrefixLanguageModelling(context.vocabulary)


def _build_sop(options: Options, context: ObjectiveContext) -> Objective:
    from sslm_objectives.halves import SentenceOrder

    return SentenceOrder(context.vocabulary)


def _build_nsp(options: Options, context: ObjectiveContext) -> Objective:
    from sslm_objectives.halves import NextSentence

    return NextSentence(context.vocabulary)
