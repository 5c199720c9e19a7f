"""What a spec may say. Every class here is a section of the YAML; unknown keys are errors.

``docs/spec.md`` and the editors' JSON Schema are generated from the descriptions below.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sslm_platform.spec.data import DataSpec, DistractorSpec, LimitSpec, SplitSpec
from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.spec.section import Component, Section
from sslm_platform.spec.transfer import PredictionSpec, Selector, TransferSpec

MEAN_GAIN = "mean_gain_over_majority"
LAST = "last"

Name = Annotated[str, Field(pattern=r"^[\w.-]+$", min_length=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


GradientScope = Literal["all", "last_layer"]


class BalancerSpec(Component):
    """How the tasks of a step are weighed."""

    scope: GradientScope = Field(
        default="last_layer",
        description="Whose gradients are compared between tasks (by balancers of gradients, and for"
        " `log_gradients_every`): the encoder's last layer and what follows it, or `all` of the encoder"
        " (engine `local` only). The weights found apply to the whole encoder.",
    )
    log_gradients_every: int | None = Field(
        default=None,
        ge=1,
        description="Steps between measurements of the tasks' gradient norms, cosines and conflicts, written"
        " to `metrics.jsonl`; such a step takes one backward for each task.",
    )
    log_affinity_every: int | None = Field(
        default=None,
        ge=1,
        description="Steps between measurements of what a step along one task's gradient does to the others'"
        " losses (TAG), written to `metrics.jsonl`; such a step takes one backward and one more forward for"
        " each of its tasks. Engine `local` only.",
    )


class ObjectiveSpec(Component):
    """A task's objective."""

    wrapper: Component | None = Field(
        default=None,
        description="What training makes of the objective: adversarial passes, agreement of two passes, …",
    )


class TokenizerTraining(Section):
    """A tokenizer trained on the training splits."""

    model: Literal["wordpiece", "bpe", "unigram"] = "wordpiece"
    vocabulary_size: int = Field(default=8000, ge=50)
    lowercase: bool = False


class TargetTokenizer(TokenizerTraining):
    """A tokenizer of target texts; bytes as the smallest pieces, so that no text has an unknown token."""

    model: Literal["wordpiece", "bpe", "unigram"] = "bpe"
    path: str | None = Field(
        default=None,
        description="Folder or hub name of a pretrained one, for a decoder that has one.",
    )

    @model_validator(mode="after")
    def _one(self) -> TargetTokenizer:
        if self.path is not None and self.model_fields_set != {"path"}:
            raise ValueError("give path or what is to be trained, not both")
        return self


class HeadSpec(Component):
    """A task's head."""

    shared_as: Name | None = Field(
        default=None, description="Tasks with the same value share one head (and its label set)."
    )
    sharded: bool = Field(
        default=False,
        description="Sharded by ZeRO stages 1 to 3 like the encoder: for heads too large to replicate.",
    )
    tokenizer: TargetTokenizer | None = Field(
        default=None,
        description="Of heads that generate text: a tokenizer trained on the training targets of the head's"
        " tasks, or a pretrained one; default: the encoder's.",
    )


class FieldSpec(Section):
    """Where a field's values come from."""

    column: str = Field(description="Column of the stream's data.")
    bins: dict[str, tuple[float, float]] | None = Field(
        default=None,
        description="Label for each closed interval of a number; rows in no interval are left out.",
    )
    map: dict[str, str] | None = Field(
        default=None,
        description="Label for each raw value; rows with another value are left out. Of tags: a name for each"
        " chunk type; chunks of another type are `O`.",
    )
    separator: str | None = Field(
        default=None, description="What stands between the labels of a text of several."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=2,
        description="Of a target that the encoder reads after the text (prefix LM): tokens of"
        " `encoder.max_length` that are kept for it and its end; default: a quarter. The text has the rest.",
    )
    scheme: Literal["bio", "iob1", "iobes", "io", "word"] = Field(
        default="bio",
        description="How tags mark chunks; all are turned into BIO. Without prefixes: `io`, each run of equal"
        " tags is a chunk; `word`, each tag is (parts of speech).",
    )


class TaskSpec(Section):
    """One task on a stream; its identity is `name@domain`."""

    name: Name
    fields: dict[str, str | FieldSpec] = Field(description="Field of the objective to column.")
    template: str | None = Field(
        default=None,
        description="What the encoder reads around the text, say `{text} It was {mask}.`: `{text}`,"
        " `{text_pair}`, and `{mask}`, a mask token. What is too long is cut off the fields.",
    )
    objective: ObjectiveSpec
    head: HeadSpec
    metrics: list[str | Component] = Field(min_length=1, description="Metrics to report.")
    primary_metric: str | None = Field(
        default=None, description="Metric used for selection and matrices; default: the first."
    )


class AdaptSpec(Section):
    """An augmenter's probability follows the dev scores: it rises after a gain and falls after none."""

    step: float = Field(default=0.1, gt=0, le=1, description="By how much, after each dev scoring.")
    most: Fraction = Field(default=0.9, description="The probability stays between 0 and this.")


class AugmentSpec(Component):
    """What changes a stream's training texts, in each pass anew."""

    probability: Fraction = Field(default=0.5, description="Share of the examples that it changes in a pass.")
    adapt: AdaptSpec | None = Field(
        default=None,
        description="Where given, `probability` is what the joint training begins with; the mean dev score of"
        " the tasks that read the text together, compared with the last one, moves it. Trainings of a"
        " transfer matrix score nothing on the way and keep it.",
    )


class StreamSpec(Section):
    """One data set with its splits, and the tasks on it."""

    name: Name
    domain: Name
    tags: dict[str, str] = Field(default_factory=dict, description="Axes of matrices, say `language`.")
    data: DataSpec
    split: SplitSpec
    distractors: DistractorSpec | None = Field(
        default=None, description="Wrong answers for each row, from other rows."
    )
    limit: LimitSpec = Field(default_factory=LimitSpec)
    augment: list[AugmentSpec] = Field(
        default_factory=list, description="Augmenters of the training texts, one after the other."
    )
    tasks: list[TaskSpec] = Field(min_length=1)


class TokenizerSpec(Section):
    """The tokenizer of an encoder that starts from a config."""

    path: str | None = Field(default=None, description="Folder, hub name, or `package:`.")
    train: TokenizerTraining | None = None
    sentinels: int = Field(
        default=0,
        ge=0,
        description="Tokens `<extra_id_0>`, `<extra_id_1>`, … to stand for spans, as span corruption needs.",
    )

    @model_validator(mode="after")
    def _one(self) -> TokenizerSpec:
        if (self.path is None) == (self.train is None):
            raise ValueError("give exactly one of path, train")
        return self


class AdapterSpec(Section):
    """A small part that is trained inside the frozen encoder, by `peft` (extra `sslm-platform[peft]`).

    LoRA (Hu et al. 2022), AdaLoRA (Zhang et al. 2023), IA³ (Liu et al. 2022), LoHa (Hyeon-Woo et al. 2022),
    LoKr (Edalati et al. 2022): of the methods of `peft`, those that merge into the encoder's weights; and
    prefix tuning (Li & Liang 2021), one for each task.
    """

    name: Literal["lora", "adalora", "ia3", "loha", "lokr", "prefix_tuning"]
    per: Literal["run", "task"] = Field(
        default="run",
        description="`run`: one adapter, which all tasks train. `task`: one for each head, trained with it"
        " and with nothing else; tasks that share a head share its adapter.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Of `peft`'s config, say `{r: 8, lora_alpha: 16, target_modules: [query, value]}`.",
    )


class EncoderSpec(Section):
    """The shared encoder: pretrained (`path`) or from scratch (`config` and `tokenizer`)."""

    path: str | None = Field(
        default=None,
        description="A folder, a hub name, or `package:DISTRIBUTION/folder/inside`.",
    )
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="Expected digest of `model.safetensors`."
    )
    config: dict[str, Any] | None = Field(
        default=None, description="A transformers config with `model_type`; random weights."
    )
    tokenizer: TokenizerSpec | None = None
    max_length: int = Field(
        default=128,
        ge=4,
        description="In tokens. Longer inputs are truncated, but contexts of questions, and words that"
        " tasks only tag, are read in overlapping windows.",
    )
    dropout: Fraction | dict[str, Fraction] | None = Field(
        default=None,
        description="Overrides all of the encoder's dropout, or rates of its config by name, say"
        " `{hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.0}`.",
    )
    freeze: list[str] = Field(
        default_factory=list,
        description="What is not trained: names of the backbone's modules and parameters, `*` and `[0-5]` as"
        ' in a shell, say `[embeddings, "encoder.layer.[0-3]"]`.',
    )
    adapter: AdapterSpec | None = None
    max_unknown: Fraction = Field(
        default=0.2, description="Largest share of unknown tokens that a stream may have."
    )

    @model_validator(mode="after")
    def _one(self) -> EncoderSpec:
        if (self.path is None) == (self.config is None):
            raise ValueError("give exactly one of path, config")
        if (self.config is None) != (self.tokenizer is None):
            raise ValueError("config and tokenizer go together; with path the tokenizer is the path's")
        if self.sha256 is not None and self.path is None:
            raise ValueError("sha256 is of what path names")
        if self.adapter is not None and self.path is None:
            raise ValueError("adapter: random weights that stay as they are teach nothing; give a path")
        if self.adapter is not None and self.freeze:
            raise ValueError("give adapter or freeze: with an adapter all of the encoder is frozen")
        return self


class ScheduleSpec(Section):
    """How slots are drawn, and for how long."""

    sampler: Component = Component(name="proportional")
    tokens_per_batch: int = Field(default=2048, ge=8, description="Padded tokens of a slot, over all ranks.")
    slots_per_step: int = Field(default=1, ge=1, description="Slots of one optimizer step.")
    max_steps: int | None = Field(default=None, ge=0, description="0: what is pretrained is scored as it is.")
    epochs: float | None = Field(
        default=None, gt=0, description="Passes over all feeds together, instead of `max_steps`."
    )

    @model_validator(mode="after")
    def _one(self) -> ScheduleSpec:
        if (self.max_steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of max_steps, epochs")
        return self


class EngineSpec(Section):
    """What runs backward and step."""

    name: Literal["local", "deepspeed"] = "local"
    zero_stage: Literal[0, 1, 2, 3] | None = Field(default=None, description="DeepSpeed only.")
    config: dict[str, Any] = Field(
        default_factory=dict, description="Merged into the DeepSpeed config; owned keys are refused."
    )
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = Field(default=None, ge=1, description="CPU threads of each rank.")
    deterministic: bool = Field(
        default=True,
        description="On a GPU, use only operations that give the same bits each time, as an exact resume"
        " needs; torch's error names one that a plugin uses and that does not.",
    )

    @model_validator(mode="after")
    def _deepspeed_only(self) -> EngineSpec:
        if self.name == "local" and (self.zero_stage is not None or self.config):
            raise ValueError("zero_stage and config need name: deepspeed")
        return self


class CheckpointSpec(Section):
    """When a training is saved, so that a killed one continues."""

    every: int | None = Field(
        default=200, ge=1, description="Steps between checkpoints; null: none but by `minutes`."
    )
    minutes: float | None = Field(default=None, gt=0, description="Or minutes, whichever come first.")
    keep_best: int = Field(
        default=1,
        ge=1,
        description="Models kept: `train/model` is the best dev scoring's (with `select_by: last` the last"
        " one's), `train/models` has the next.",
    )


class EvaluationSpec(Section):
    """When the dev splits are scored, and what is kept."""

    every: int | None = Field(default=None, ge=1, description="Steps between scorings; default: at the end.")
    select_by: str = Field(
        default="mean_gain_over_majority",
        description="`mean_gain_over_majority`, or `TASK/METRIC` (say `sentiment@tweets/accuracy`), whose"
        " best scoring's model is kept; or `last`: the last step's, as continual learning wants it.",
    )
    patience: int | None = Field(
        default=None, ge=1, description="Scorings without a better one before stopping."
    )
    max_generated: int = Field(
        default=200,
        ge=1,
        description="Dev examples for which texts are generated at each scoring, the same each time: a text"
        " costs as many decoder calls as it has tokens. Test splits are generated whole.",
    )

    @model_validator(mode="after")
    def _scored(self) -> EvaluationSpec:
        if self.patience is not None and self.every is None:
            raise ValueError("patience counts scorings: give every")
        if self.patience is not None and self.select_by == LAST:
            raise ValueError("patience waits for a better scoring, and select_by: last looks for none")
        return self


class RunSpec(Section):
    """A whole run."""

    name: Name
    seed: int = Field(default=1, ge=0, description="Seed of the joint run's initialization and order.")
    encoder: EncoderSpec
    include: list[str] = Field(
        default_factory=list, description="YAML files with more `streams`, relative to this file."
    )
    streams: list[StreamSpec] = Field(default_factory=list)
    tasks: Selector | None = Field(
        default=None, description="Only the streams' tasks that match take part, say `{task: sentiment}`."
    )
    limit: LimitSpec = Field(
        default_factory=LimitSpec, description="For every stream; a stream's own smaller limit holds."
    )
    schedule: ScheduleSpec
    balancer: BalancerSpec = BalancerSpec(name="equal")
    optimizer: OptimizerSpec = OptimizerSpec()
    engine: EngineSpec = EngineSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()
    transfer: list[TransferSpec] = Field(default_factory=list)
    executor: Component = Field(
        default=Component(name="serial"), description="What measures the transfer cells, and where."
    )
    prediction: PredictionSpec = PredictionSpec()
