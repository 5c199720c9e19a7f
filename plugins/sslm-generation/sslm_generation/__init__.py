"""Generation for sslm-platform. Torch is imported when a head or an objective is built, not here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sslm_generation.options import (
    DecoderOptions,
    DenoisingOptions,
    PretrainedDecoderOptions,
    SpanCorruptionOptions,
    TeacherForcingOptions,
    UnilmOptions,
)
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
    WritingHead,
    content_digest,
    hookimpl,
)

FIELDS = {
    "text": Field(FieldKind.TEXT),
    "text_pair": Field(FieldKind.TEXT, required=False),
    "target": Field(FieldKind.TARGET_TEXT),
}


@hookimpl
def sslm_objectives() -> Iterable[ObjectiveDef]:
    """Register ``teacher_forcing``, ``span_corruption`` and ``denoising``."""
    yield ObjectiveDef(
        name="teacher_forcing",
        build=_build_teacher_forcing,
        needs={OutputKind.GENERATED_TEXT: FIELDS},
        options=TeacherForcingOptions,
        summary="Cross-entropy of each token of a target text, given the input and the tokens before it.",
    )
    yield ObjectiveDef(
        name="span_corruption",
        build=_build_span_corruption,
        needs={OutputKind.GENERATED_TEXT: {"text": Field(FieldKind.TEXT)}},
        options=SpanCorruptionOptions,
        changes_input=True,
        makes_text=True,
        summary="Write the spans that were left out of a text, each after its sentinel (T5).",
    )
    yield ObjectiveDef(
        name="denoising",
        build=_build_denoising,
        needs={OutputKind.GENERATED_TEXT: {"text": Field(FieldKind.TEXT)}},
        options=DenoisingOptions,
        changes_input=True,
        makes_text=True,
        summary="Write a text as it was before spans were hidden and sentences moved (BART).",
    )


@hookimpl
def sslm_heads() -> Iterable[HeadDef]:
    """Register ``decoder``, ``pretrained_decoder`` and ``unilm``."""
    yield HeadDef(
        name="decoder",
        build=_build_decoder,
        emits=OutputKind.GENERATED_TEXT,
        options=DecoderOptions,
        summary="A transformer decoder with cross-attention to the encoder's states.",
    )
    yield HeadDef(
        name="pretrained_decoder",
        build=_build_pretrained_decoder,
        emits=OutputKind.GENERATED_TEXT,
        options=PretrainedDecoderOptions,
        whole=True,
        reads=_pretrained_read,
        summary="The decoder of a pretrained encoder-decoder (T5, BART, …).",
    )
    yield HeadDef(
        name="unilm",
        build=_build_unilm,
        emits=OutputKind.GENERATED_TEXT,
        options=UnilmOptions,
        tied=True,
        summary="The encoder itself writes after the text, with its own embedding matrix (prefix LM).",
    )


def _build_teacher_forcing(options: TeacherForcingOptions, context: ObjectiveContext) -> Objective:
    from sslm_generation.teacher_forcing import TeacherForcing

    return TeacherForcing(options, context)


def _build_span_corruption(options: SpanCorruptionOptions, context: ObjectiveContext) -> Objective:
    from sslm_generation.span_corruption import SpanCorruption

    return SpanCorruption(options, context)


def _build_denoising(options: DenoisingOptions, context: ObjectiveContext) -> Objective:
    from sslm_generation.denoising import Denoising

    return Denoising(options, context)


def _build_decoder(options: DecoderOptions, context: HeadContext) -> GeneratingHead:
    from sslm_generation.decoder import Decoder

    return Decoder(options, context)


def _build_pretrained_decoder(options: PretrainedDecoderOptions, context: HeadContext) -> GeneratingHead:
    from sslm_generation.pretrained import PretrainedDecoder

    return PretrainedDecoder(options, context)


def _pretrained_read(options: PretrainedDecoderOptions) -> dict[str, str]:
    folder = Path(options.path)  # what a hub name stands for is kept in its cache
    configs = ("config.json", "generation_config.json")
    files = sorted({*folder.glob("*.safetensors"), *(folder / n for n in configs if (folder / n).is_file())})
    return {f"path/{file.name}": content_digest(file) for file in files}


def _build_unilm(options: UnilmOptions, context: HeadContext) -> WritingHead:
    from sslm_generation.unilm import EncoderWriter

    return EncoderWriter(options, context)
