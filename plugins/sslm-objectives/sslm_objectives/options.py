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
        return self
