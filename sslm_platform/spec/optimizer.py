"""The section ``optimizer``: what moves the weights, how far, and from where."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sslm_platform.spec.section import Section

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class AverageSpec(Section):
    """A running average of the weights, which is scored and saved in their place.

    `ema` weighs a step's weights by 1 - `decay` (Polyak averaging with forgetting); `swa` weighs all steps
    from `start` on alike (stochastic weight averaging; Izmailov et al. 2018, UAI).
    """

    name: Literal["ema", "swa"]
    decay: float = Field(default=0.999, gt=0, lt=1, description="Of `ema`: what the average keeps in a step.")
    start: Share = Field(default=0.0, description="Share of all steps that are left out; scored as they are.")

    @model_validator(mode="after")
    def _decay_is_of_ema(self) -> AverageSpec:
        if self.name == "swa" and "decay" in self.model_fields_set:
            raise ValueError("decay applies to ema; swa weighs all steps alike")
        return self


class ConsolidateSpec(Section):
    """What a sampler's earlier stages need of the encoder is held (EWC; Kirkpatrick et al. 2017)."""

    strength: float = Field(gt=0, description="The factor λ of the penalty λ/2 · Σ F (w - w*)².")
    examples: int = Field(
        default=200, ge=1, description="Training examples of each feed of a stage that F is measured on."
    )


class DistillSpec(Section):
    """What earlier stages' heads answer for later stages' texts is held (LwF; Li & Hoiem 2017)."""

    strength: float = Field(default=1.0, gt=0, description="Weight of the distillation, λ.")
    temperature: float = Field(
        default=2.0, gt=0, description="Divides the logits of both models: the larger, the softer."
    )


class OptimizerSpec(Section):
    """The optimizer of encoder and heads."""

    name: Literal["adamw"] = "adamw"
    lr: float = Field(default=2e-4, gt=0, description="Peak learning rate of the encoder.")
    head_lr: float | None = Field(default=None, gt=0, description="Peak rate of heads; default: `lr`.")
    layer_decay: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Rate of an encoder's layer divided by that of the layer above; the last layer has `lr`,"
        " what is before the first is a layer too (Howard & Ruder 2018 take 1/2.6, ELECTRA 0.8).",
    )
    unfreeze: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Share of all steps after which the whole encoder is trained: its layers join one by one"
        " at equal distances, the last one first and what is before the first layer last (Howard & Ruder"
        " 2018); until then they stay as they are, to the bit.",
    )
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.01, ge=0, description="Not applied to biases and norms.")
    decay_to: Literal["zero", "start"] = Field(
        default="zero",
        description="Where `weight_decay` draws the encoder's weights: to `zero`, or to those that the"
        " training started from (L2-SP; Li et al. 2018). Heads are always drawn to zero.",
    )
    warmup: Share = Field(default=0.1, description="Share of all steps with a rising rate.")
    decay: Literal["linear", "cosine", "constant"] = "linear"
    clip: float | None = Field(
        default=1.0, gt=0, description="Largest gradient norm of each part: the encoder, each head."
    )
    average: AverageSpec | None = None
    consolidate: ConsolidateSpec | None = None
    distill: DistillSpec | None = None
    max_skipped: int = Field(
        default=3,
        ge=1,
        description="Steps in a row that may be skipped, since a loss or a gradient is not finite, before the"
        " run saves and stops.",
    )

    @property
    def needs_layers(self) -> bool:
        """Whether the encoder's layers are told apart."""
        return self.layer_decay is not None or self.unfreeze is not None
