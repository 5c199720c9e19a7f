"""Options of the built-in objectives."""

from __future__ import annotations

from pydantic import Field, model_validator

from sslm_platform.api import Options


class CrossEntropyOptions(Options):
    """Options of ``cross_entropy``."""

    label_smoothing: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Share of the target spread evenly over all labels."
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
