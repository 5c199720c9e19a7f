"""Options of the built-in heads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sslm_platform.api import Options


class SequenceOptions(Options):
    """Options of ``sequence_classifier`` and ``sequence_regressor``."""

    pooling: Literal["mean", "cls", "max", "markers"] = Field(
        default="mean",
        description="How a text's states become one: mean or max of all, or the first; `markers` puts those"
        " of the markers before the two spans side by side (Baldini Soares et al. 2019, entity start).",
    )
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="Dropout before each linear layer.")
    hidden_layer: bool = Field(default=False, description="Put a dense layer with tanh before the last one.")


class MultilabelOptions(SequenceOptions):
    """Options of ``multilabel_classifier``."""

    threshold: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="Labels of at least this probability are predicted; default: what gives the best micro"
        " F1 on dev, and 0.5 before dev was scored.",
    )


class OrdinalOptions(SequenceOptions):
    """Options of ``ordinal_classifier``."""

    order: tuple[str, ...] | None = Field(
        default=None, min_length=2, description="All labels from low to high; default: as numbers."
    )


class SpanOptions(Options):
    """Options of ``span_extractor``."""

    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="Dropout before the linear layer.")
    max_tokens: int = Field(default=30, ge=1, description="Longest answer, in tokens.")


class VectorOptions(Options):
    """Options of heads that make vectors."""

    pooling: Literal["mean", "cls"] = Field(
        default="mean", description="How states become one vector: the mean of the text's, or the first."
    )
    projection: Literal["none", "linear", "mlp"] = Field(
        default="none", description="What maps it: nothing, a linear layer, or that, tanh and another."
    )
    width: int | None = Field(
        default=None, ge=1, description="Of the vectors, with a projection; default: of the states."
    )


class EmbeddingOptions(VectorOptions):
    """Options of ``embedding``."""

    steps: int = Field(
        default=0, ge=0, description="Predictors of vectors that many segments ahead: one for each distance."
    )


class TokenOptions(Options):
    """Options of ``token_classifier``."""

    alignment: Literal["first", "mean", "last"] = Field(
        default="first", description="Whose state stands for a word: its first or last token, or their mean."
    )
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="Dropout before the linear layer.")


class ElectraOptions(Options):
    """Options of ``electra``: of the generator, but for the dropout, which both have."""

    layers: int = Field(default=2, ge=1, description="The generator's layers.")
    heads: int = Field(default=4, ge=1, description="Its attention heads; a divisor of its width.")
    width: int | None = Field(
        default=None, ge=1, description="Its width; default: about a quarter of the encoder's."
    )
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="Dropout of generator and detector.")


class ChoiceOptions(Options):
    """Options of ``choice_scorer``."""

    pooling: Literal["mean", "cls", "max"] = Field(
        default="mean", description="How the states of a text and a candidate become one vector."
    )
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="Dropout before each linear layer.")
    hidden_layer: bool = Field(default=False, description="Put a dense layer with tanh before the last one.")
