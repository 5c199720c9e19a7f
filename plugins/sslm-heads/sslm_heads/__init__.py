"""Heads of sslm-platform. Torch is imported when a head is built, not here."""

from __future__ import annotations

from collections.abc import Iterable

from sslm_heads.options import SequenceOptions, TokenOptions
from sslm_platform.api import Head, HeadContext, HeadDef, Options, OutputKind, hookimpl


@hookimpl
def sslm_heads() -> Iterable[HeadDef]:
    """Register the built-in heads."""
    return (
        HeadDef(
            name="sequence_classifier",
            build=_build_sequence_classifier,
            emits=OutputKind.SEQUENCE_LOGITS,
            options=SequenceOptions,
            summary="One label for a text: pooled states, then a linear layer.",
        ),
        HeadDef(
            name="sequence_regressor",
            build=_build_sequence_regressor,
            emits=OutputKind.SEQUENCE_VALUES,
            options=SequenceOptions,
            summary="One number for a text: pooled states, then a linear layer.",
        ),
        HeadDef(
            name="token_classifier",
            build=_build_token_classifier,
            emits=OutputKind.TOKEN_LOGITS,
            options=TokenOptions,
            summary="One tag for each word, from its first token's state.",
        ),
        HeadDef(
            name="lm",
            build=_build_lm,
            emits=OutputKind.VOCABULARY_LOGITS,
            tied=True,
            summary="BERT's language-model head on the encoder's own embedding matrix.",
        ),
    )


def _build_sequence_classifier(options: SequenceOptions, context: HeadContext) -> Head:
    from sslm_heads.sequence import SequenceClassifier

    return SequenceClassifier(options, context)


def _build_sequence_regressor(options: SequenceOptions, context: HeadContext) -> Head:
    from sslm_heads.sequence import SequenceRegressor

    return SequenceRegressor(options, context)


def _build_token_classifier(options: TokenOptions, context: HeadContext) -> Head:
    from sslm_heads.token import TokenClassifier

    return TokenClassifier(options, context)


def _build_lm(options: Options, context: HeadContext) -> Head:
    from sslm_heads.lm import LanguageModelHead

    return LanguageModelHead(context)
