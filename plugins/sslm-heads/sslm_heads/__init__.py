"""Heads of sslm-platform. Torch is imported when a head is built, not here."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sslm_heads.options import (
    ChoiceOptions,
    ElectraOptions,
    EmbeddingOptions,
    MultilabelOptions,
    OrdinalOptions,
    SequenceOptions,
    SpanOptions,
    TokenOptions,
    VectorOptions,
)
from sslm_platform.api import Head, HeadContext, HeadDef, Options, OutputKind, Problem, hookimpl


@hookimpl
def sslm_heads() -> Iterable[HeadDef]:
    """Register the built-in heads."""
    return (
        HeadDef(
            name="sequence_classifier",
            build=_build_sequence_classifier,
            check=_check_pooling,
            emits=OutputKind.SEQUENCE_LOGITS,
            options=SequenceOptions,
            summary="One label for a text: pooled states, then a linear layer.",
        ),
        HeadDef(
            name="multilabel_classifier",
            build=_build_multilabel_classifier,
            check=_check_pooling,
            emits=OutputKind.LABEL_SET_LOGITS,
            options=MultilabelOptions,
            summary="Any number of labels for a text, by a threshold that dev sets.",
        ),
        HeadDef(
            name="ordinal_classifier",
            build=_build_ordinal_classifier,
            check=_check_pooling,
            emits=OutputKind.SEQUENCE_LOGITS,
            options=OrdinalOptions,
            summary="One of several ordered labels: proportional odds of one number.",
        ),
        HeadDef(
            name="sequence_regressor",
            build=_build_sequence_regressor,
            check=_check_pooling,
            emits=OutputKind.SEQUENCE_VALUES,
            options=SequenceOptions,
            summary="One number for a text: pooled states, then a linear layer.",
        ),
        HeadDef(
            name="span_extractor",
            build=_build_span_extractor,
            emits=OutputKind.SPAN_LOGITS,
            options=SpanOptions,
            summary="The span of a context that answers a question, or none, by a threshold that dev sets.",
        ),
        HeadDef(
            name="token_classifier",
            build=_build_token_classifier,
            emits=OutputKind.TOKEN_LOGITS,
            options=TokenOptions,
            summary="One tag for each word, from its first token's state.",
        ),
        HeadDef(
            name="electra",
            build=_build_electra,
            emits=OutputKind.TOKEN_LOGITS,
            options=ElectraOptions,
            rewrites=True,
            summary="A small generator that puts tokens in, and a detector of these.",
        ),
        HeadDef(
            name="embedding",
            build=_build_embedding,
            emits=OutputKind.VECTORS,
            options=EmbeddingOptions,
            summary="A vector for a text or a part of one, and predictors of later parts.",
        ),
        HeadDef(
            name="bi_encoder",
            build=_build_bi_encoder,
            emits=OutputKind.RANKING,
            options=VectorOptions,
            summary="Vectors of a text and its possible answers, read apart and ranked by cosine.",
        ),
        HeadDef(
            name="choice_scorer",
            build=_build_choice_scorer,
            emits=OutputKind.CHOICE_LOGITS,
            options=ChoiceOptions,
            summary="A score for each candidate of a choice, read with the text.",
        ),
        HeadDef(
            name="lm",
            build=_build_lm,
            emits=OutputKind.VOCABULARY_LOGITS,
            tied=True,
            summary="BERT's language-model head on the encoder's own embedding matrix.",
        ),
    )


def _check_pooling(options: SequenceOptions, fields: Collection[str]) -> Iterable[Problem]:
    if options.pooling == "markers" and "spans" not in fields:
        yield Problem("pooling", "markers are around spans, and the task has no field spans")


def _build_sequence_classifier(options: SequenceOptions, context: HeadContext) -> Head:
    from sslm_heads.sequence import SequenceClassifier

    return SequenceClassifier(options, context)


def _build_multilabel_classifier(options: MultilabelOptions, context: HeadContext) -> Head:
    from sslm_heads.sequence import MultilabelClassifier

    return MultilabelClassifier(options, context)


def _build_ordinal_classifier(options: OrdinalOptions, context: HeadContext) -> Head:
    from sslm_heads.sequence import OrdinalClassifier

    return OrdinalClassifier(options, context)


def _build_sequence_regressor(options: SequenceOptions, context: HeadContext) -> Head:
    from sslm_heads.sequence import SequenceRegressor

    return SequenceRegressor(options, context)


def _build_span_extractor(options: SpanOptions, context: HeadContext) -> Head:
    from sslm_heads.span import SpanExtractor

    return SpanExtractor(options, context)


def _build_token_classifier(options: TokenOptions, context: HeadContext) -> Head:
    from sslm_heads.token import TokenClassifier

    return TokenClassifier(options, context)


def _build_electra(options: ElectraOptions, context: HeadContext) -> Head:
    from sslm_heads.electra import ReplacedTokenDetector

    return ReplacedTokenDetector(options, context)


def _build_embedding(options: EmbeddingOptions, context: HeadContext) -> Head:
    from sslm_heads.embedding import Embedding

    return Embedding(options, context)


def _build_bi_encoder(options: VectorOptions, context: HeadContext) -> Head:
    from sslm_heads.embedding import BiEncoder

    return BiEncoder(options, context)


def _build_choice_scorer(options: ChoiceOptions, context: HeadContext) -> Head:
    from sslm_heads.choice import ChoiceScorer

    return ChoiceScorer(options, context)


def _build_lm(options: Options, context: HeadContext) -> Head:
    from sslm_heads.lm import LanguageModelHead

    return LanguageModelHead(context)
