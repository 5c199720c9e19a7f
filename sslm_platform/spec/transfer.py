"""Selectors of tasks, and the sections `transfer` and `prediction`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from sslm_platform.spec.section import Component, Section


class Selector(Section):
    """Tasks that match every key given; keys are `identity`, `task`, `domain`, `stream`, or a stream's tag.

    With `by`, the tasks that match are grouped by that key's value and each group is trained jointly; with
    `together`, all that match are one group.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    by: str | None = None
    together: bool = False
    __pydantic_extra__: dict[str, str | list[str]]

    @model_validator(mode="after")
    def _one_grouping(self) -> Selector:
        if self.together and self.by is not None:
            raise ValueError("give by or together, not both")
        return self

    @property
    def criteria(self) -> dict[str, tuple[str, ...]]:
        """Wanted values for each axis named."""
        extra = self.__pydantic_extra__ or {}
        return {k: (v,) if isinstance(v, str) else tuple(v) for k, v in extra.items()}


class FewShotSpec(Section):
    """What `target_stage: few_shot` learns from."""

    k: int | list[int] = Field(description="Training examples for each label; a list gives cells for each.")
    draws: int = Field(default=3, ge=1, description="How many times the examples are drawn.")
    by: Literal["probe", "finetune"] = Field(
        default="probe", description="A new head on the frozen encoder, or encoder and head together."
    )

    @model_validator(mode="after")
    def _positive(self) -> FewShotSpec:
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"k: {self.k} has to name numbers of examples, 1 or more")
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """Every k, each once."""
        return (self.k,) if isinstance(self.k, int) else tuple(dict.fromkeys(self.k))


SourceChoice = Selector | Literal["all", "joint"]

_NO_ENCODER = "does not train the encoder, so that a new head learns the same with any source; use none"
_NO_HEAD = "has no head that could answer; use probe, finetune or few_shot"


class TransferSpec(Section):
    """One block of cells: a protocol, its sources and its targets."""

    source_stage: Literal["none", "head", "full", "pairwise", "leave_one_out", "sequential"] = Field(
        description="How the encoder comes to be. `full`: trained on the source. `pairwise`: on source and"
        " target together. `leave_one_out`: on all sources but one. `sequential`: on the source, `then` on"
        " others."
    )
    target_stage: Literal["zero_shot", "probe", "finetune", "few_shot"] = Field(
        description="What is learned of the target. `zero_shot`: nothing, the source's head answers."
    )
    sources: SourceChoice | list[SourceChoice] = Field(
        default_factory=list,
        description="Selectors; `all`: every task by itself; `joint`: the run's own joint model.",
    )
    then: list[Selector | Literal["all"]] = Field(
        default_factory=list,
        description="`sequential` only: the sources of the second stage, of the third, and so on; every"
        " sequence without a repeated task is trained.",
    )
    targets: Selector | Literal["all"] = "all"
    seeds: list[Annotated[int, Field(ge=0, lt=2**63)]] | None = Field(
        default=None, min_length=1, description="Default: the run's seed."
    )
    few_shot: FewShotSpec | None = Field(default=None, description="Needed by `few_shot`.")
    label_map: dict[str, str] = Field(
        default_factory=dict,
        description="`zero_shot` only: label of a source to label of the target (of tags, their types; or"
        " `O`); labels not named here are matched by name.",
    )
    max_steps: int | None = Field(default=None, ge=1, description="Steps of a source's training.")
    epochs: float | None = Field(default=None, gt=0, description="Or passes over the source's data.")
    finetune_max_steps: int | None = Field(default=None, ge=1, description="Steps on the target.")
    finetune_epochs: float | None = Field(default=None, gt=0, description="Or passes over the target.")

    @model_validator(mode="after")
    def _possible(self) -> TransferSpec:
        pair = f"{self.source_stage}/{self.target_stage}"
        if self.source_stage == "head" and self.target_stage != "zero_shot":
            raise ValueError(f"{pair} is no protocol: head {_NO_ENCODER}")
        if pair == "none/zero_shot":
            raise ValueError(f"{pair} is no protocol: none {_NO_HEAD}")
        if (self.source_stage == "none") != (self.sources == []):
            raise ValueError("sources are needed, except with source_stage: none, which has none")
        if (self.source_stage == "sequential") != bool(self.then):
            raise ValueError("source_stage: sequential needs then, and nothing else has it")
        if self.source_stage not in ("full", "head") and "joint" in self._source_list:
            raise ValueError(f"sources: joint is a training of its own, no part of {self.source_stage}")
        if (self.target_stage == "few_shot") != (self.few_shot is not None):
            raise ValueError("target_stage: few_shot needs few_shot: {k: ...}, and nothing else has it")
        if self.label_map and self.target_stage != "zero_shot":
            raise ValueError("label_map is for target_stage: zero_shot; all others get a new head")
        if self.source_stage == "none" and (self.max_steps or self.epochs):
            raise ValueError("max_steps and epochs are of a source's training; source_stage: none has none")
        if self.max_steps and self.epochs:
            raise ValueError("give max_steps or epochs, not both")
        if self.finetune_max_steps and self.finetune_epochs:
            raise ValueError("give finetune_max_steps or finetune_epochs, not both")
        if (self.finetune_max_steps or self.finetune_epochs) and not self._finetunes:
            raise ValueError("finetune_max_steps and finetune_epochs need finetune, or few_shot by: finetune")
        return self

    @property
    def _finetunes(self) -> bool:
        few_shot_does = self.few_shot is not None and self.few_shot.by == "finetune"
        return self.target_stage == "finetune" or few_shot_does

    @property
    def _source_list(self) -> list[SourceChoice]:
        return self.sources if isinstance(self.sources, list) else [self.sources]


class PredictionSpec(Section):
    """What `sslm transfer predict` asks, and of how many examples."""

    estimators: list[str | Component] = Field(
        default_factory=list, description="Default: all that are installed, without options."
    )
    examples: int = Field(
        default=1000, ge=2, description="Most training examples of a task that estimators look at."
    )
    gradient_examples: int = Field(
        default=64, ge=1, description="Most of them whose gradients are taken, one by one."
    )
