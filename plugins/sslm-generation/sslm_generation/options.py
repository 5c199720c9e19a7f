"""Options of the decoder, of how it is trained, and of how texts are decoded."""

from __future__ import annotations

from pydantic import Field, model_validator

from sslm_platform.api import Options


class TeacherForcingOptions(Options):
    """Options of ``teacher_forcing``."""

    label_smoothing: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="Share of each target that is spread over the vocabulary."
    )
    max_target_length: int = Field(default=128, ge=2, description="In tokens; longer targets are cut.")


class SpanCorruptionOptions(Options):
    """Options of ``span_corruption``; the defaults are T5's (Raffel et al. 2020, section 3.1.4)."""

    noise_density: float = Field(default=0.15, gt=0.0, lt=1.0, description="Share of the tokens left out.")
    mean_span: float = Field(default=3.0, ge=1.0, description="Mean length of a span, in tokens.")
    roll: bool = Field(
        default=True,
        description="Whether spans may be anywhere. T5 joins texts to 512 tokens, and always leaves out the"
        " last ones; of a short text these would be all.",
    )


class DenoisingOptions(Options):
    """Options of ``denoising``; the defaults are BART's (Lewis et al. 2020, section 2.2 and 5)."""

    infill: float = Field(
        default=0.3, ge=0.0, lt=1.0, description="Share of the tokens that are hidden in spans, a mask each."
    )
    mean_span: float = Field(default=3.0, ge=0.5, description="Mean length of a span, in tokens (Poisson).")
    delete: float = Field(default=0.0, ge=0.0, lt=1.0, description="Chance that another token is left out.")
    permute: bool = Field(default=True, description="Whether sentences change places.")

    @model_validator(mode="after")
    def _some_noise(self) -> DenoisingOptions:
        if not (self.infill or self.delete or self.permute):
            raise ValueError("there is no noise: give infill, delete or permute")
        return self


class DecodingOptions(Options):
    """How a text is made of the decoder's probabilities; one beam without ``top_p`` is greedy."""

    beams: int = Field(default=1, ge=1, le=64, description="Hypotheses of each text kept at each step.")
    length_penalty: float = Field(
        default=0.6,
        ge=0.0,
        le=5.0,
        description="Log-probabilities are divided by ((5 + length) / 6) to this power (Wu et al. 2016).",
    )
    top_p: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="Sample from the fewest tokens that have this probability together.",
    )
    temperature: float = Field(default=1.0, gt=0.0, description="Divides the logits before sampling.")
    no_repeat: int | None = Field(
        default=None, ge=2, description="No n-gram of this many tokens occurs twice in a text."
    )
    n_best: int = Field(
        default=1,
        ge=1,
        description="Hypotheses that `sslm predict` tells, of the beams; the first is scored.",
    )
    max_length: int = Field(default=64, ge=1, description="Tokens of a text, its end included.")

    @model_validator(mode="after")
    def _one_way(self) -> DecodingOptions:
        if self.top_p is not None and self.beams > 1:
            raise ValueError("top_p samples one text and beams searches for the best: give one of them")
        if self.n_best > self.beams:
            raise ValueError("n_best are of the beams: there cannot be more")
        if self.top_p is None and self.temperature != 1.0:
            raise ValueError("temperature is of sampling: give top_p too")
        return self


class UnilmOptions(Options):
    """Options of ``unilm``."""

    decoding: DecodingOptions = DecodingOptions()


class PretrainedDecoderOptions(Options):
    """Options of ``pretrained_decoder``."""

    path: str = Field(
        description="A folder or a hub name with an encoder-decoder (T5, BART, …), whose decoder it is; the"
        " section `encoder` usually names the same one."
    )
    dropout: float | None = Field(default=None, ge=0.0, lt=1.0, description="Default: the model's own.")
    decoding: DecodingOptions = DecodingOptions()


class DecoderOptions(Options):
    """Options of ``decoder``."""

    layers: int = Field(default=2, ge=1, description="Number of layers.")
    heads: int = Field(default=4, ge=1, description="Attention heads of each layer; a divisor of the width.")
    width: int | None = Field(default=None, ge=2, description="Width of its states; default: the encoder's.")
    feed_forward: int | None = Field(
        default=None, ge=1, description="Width of the feed-forward layers; default: four times the width."
    )
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="Of embeddings and each sublayer.")
    decoding: DecodingOptions = DecodingOptions()
