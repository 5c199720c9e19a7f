"""The wrappers' definitions. Torch is imported when one is built."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from sslm_objectives.wrappers.options import (
    FgmOptions,
    FreelbOptions,
    PgdOptions,
    RDropOptions,
    SmartOptions,
)
from sslm_platform.api import OutputKind, WrapperContext, WrapperDef

ANY = frozenset(OutputKind)
COMPARABLE = frozenset(  # one distribution, or one value, for each row
    {
        OutputKind.SEQUENCE_LOGITS,
        OutputKind.SEQUENCE_VALUES,
        OutputKind.TOKEN_LOGITS,
        OutputKind.VOCABULARY_LOGITS,
        OutputKind.GENERATED_TEXT,
    }
)


def _built(module: str, name: str) -> Callable[[Any, WrapperContext], Any]:
    def build(options: Any, context: WrapperContext) -> Any:
        return getattr(import_module(f"sslm_objectives.wrappers.{module}"), name)(options)

    return build


DEFINITIONS = (
    WrapperDef(
        "fgm",
        _built("adversarial", "FastGradientMethod"),
        kinds=ANY,
        options=FgmOptions,
        shifts=True,
        summary="Train on a text and on its embeddings moved along the loss's gradient.",
    ),
    WrapperDef(
        "pgd",
        _built("adversarial", "ProjectedGradientDescent"),
        kinds=ANY,
        options=PgdOptions,
        shifts=True,
        probes=True,
        summary="Train on a text and on its embeddings moved up the loss in several steps.",
    ),
    WrapperDef(
        "freelb",
        _built("adversarial", "FreeLargeBatch"),
        kinds=ANY,
        options=FreelbOptions,
        shifts=True,
        summary="Train on each of several steps of the embeddings up the loss.",
    ),
    WrapperDef(
        "smart",
        _built("agreement", "Smart"),
        kinds=COMPARABLE,
        options=SmartOptions,
        shifts=True,
        probes=True,
        summary="Outputs that hardly change where the embeddings move a little.",
    ),
    WrapperDef(
        "r_drop",
        _built("agreement", "RDrop"),
        kinds=COMPARABLE,
        options=RDropOptions,
        summary="Two passes under dropout whose outputs agree.",
    ),
)
