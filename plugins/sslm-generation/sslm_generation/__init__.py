"""Generation for sslm-platform. Torch is imported when a head or an objective is built, not here."""

from __future__ import annotations

from collections.abc import Iterable

from sslm_generation.options import DecoderOptions, TeacherForcingOptions
from sslm_platform.api import (
    Field,
    FieldKind,
    GeneratingHead,
    HeadContext,
    HeadDef,
    Objective,
    ObjectiveContext,
    ObjectiveDef,
    OutputKind,
    hookimpl,
)

FIELDS = {
    "text": Field(FieldKind.TEXT),
    "text_pair": Field(FieldKind.TEXT, required=False),
    "target": Field(FieldKind.TARGET_TEXT),
}


@hookimpl
def sslm_objectives() -> Iterable[ObjectiveDef]:
    """Register ``teacher_forcing``."""
    yield ObjectiveDef(
        name="teacher_forcing",
        build=_build_teacher_forcing,
        needs={OutputKind.GENERATED_TEXT: FIELDS},
        options=TeacherForcingOptions,
        summary="Cross-entropy of each token of a target text, given the input and the tokens before it.",
    )


@hookimpl
def sslm_heads() -> Iterable[HeadDef]:
    """Register ``decoder``."""
    yield HeadDef(
        name="decoder",
        build=_build_decoder,
        emits=OutputKind.GENERATED_TEXT,
        options=DecoderOptions,
        summary="A transformer decoder with cross-attention to the encoder's states.",
    )


def _build_teacher_forcing(options: TeacherForcingOptions, context: ObjectiveContext) -> Objective:
    from sslm_generation.teacher_forcing import TeacherForcing

    return TeacherForcing(options, context)


def _build_decoder(options: DecoderOptions, context: HeadContext) -> GeneratingHead:
    from sslm_generation.decoder import Decoder

    return Decoder(options, context)
