"""Options of the built-in objectives."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sslm_platform.api import Options

Weights = Literal["balanced"] | dict[str, Annotated[float, Field(gt=0.0)]]


class CrossEntropyOptions(Options):
    """Options of ``cross_entropy``."""

    class_weights: Weights | None = Field(
        default=None,
        description="Weight of each label (tag) in the mean; `balanced` is n / (K · count), from the training"
        " split. Labels that are not named weigh 1.",
    )
    focal_gamma: float = Field(
        default=0.0, ge=0.0, description="Multiply each loss by (1 - p)^gamma: less of what is easy."
    )
    label_smoothing: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Share of the target spread evenly over all labels."
    )


class BinaryCrossEntropyOptions(Options):
    """Options of ``binary_cross_entropy``."""

    positive_weights: Weights | None = Field(
        default=None,
        description="Factor of each label's loss where the example has it; `balanced` is the number of"
        " training examples without it to those with it. Labels that are not named: 1.",
    )
    focal_gamma: float = Field(
        default=0.0, ge=0.0, description="Multiply each loss by (1 - p)^gamma: less of what is easy."
    )


class MlmOptions(Options):
    """Options of ``mlm``; the defaults are BERT's (Devlin et al. 2019, section 3.1)."""

    mask_prob: float = Field(default=0.15, gt=0.0, le=1.0, description="Chance that a token is a target.")
    unit: Literal["token", "word", "span"] = Field(
        default="token",
        description="What is hidden as a whole: tokens, words, or spans of words, of geometric length.",
    )
    segmenter: Literal["jieba"] | None = Field(
        default=None,
        description="Finds the words in runs of Chinese characters; else each of these is a word. jieba:"
        " `pip install 'sslm-objectives[zh]'`.",
    )
    span_prob: float = Field(
        default=0.2, gt=0.0, le=1.0, description="A span's chance to end after each word; for spans."
    )
    max_span: int = Field(default=10, ge=1, description="Longest span in words; for spans.")
    replace_prob: float = Field(
        default=0.8, ge=0.0, le=1.0, description="Share of the targets that are shown as the mask token."
    )
    random_prob: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="Share of the targets that are shown as a random token; the rest is shown as it is.",
    )

    @model_validator(mode="after")
    def _shares(self) -> MlmOptions:
        if self.replace_prob + self.random_prob > 1.0:
            raise ValueError("replace_prob and random_prob must sum to 1 at most")
        if self.segmenter is not None and self.unit == "token":
            raise ValueError("segmenter finds words: set unit to word or span")
        if self.unit != "span" and (self.span_prob, self.max_span) != (0.2, 10):
            raise ValueError("span_prob and max_span need unit: span")
        return self


class RtdOptions(Options):
    """Options of ``rtd``; the defaults are ELECTRA's (Clark et al. 2020, appendix A and released code)."""

    mask_prob: float = Field(default=0.15, gt=0.0, le=1.0, description="Share of the tokens to be restored.")
    replace_prob: float = Field(
        default=0.85,
        ge=0.0,
        le=1.0,
        description="Share of these that the generator sees as the mask token; it sees the rest as it is.",
    )
    weight: float = Field(default=50.0, gt=0.0, description="λ: weight of the detection's loss.")
