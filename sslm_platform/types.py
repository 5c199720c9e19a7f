"""What plugins define: names, options, capabilities. Frozen, comparable, free of torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from sslm_platform.kinds import AttentionPattern, EvidenceKind, Field, OutputKind

if TYPE_CHECKING:
    from torch import Tensor

    from sslm_platform.augmenting import Augmenter
    from sslm_platform.errors import Problem
    from sslm_platform.evidence import Estimator
    from sslm_platform.generating import GeneratingHead, TextTokenizer, WritingHead
    from sslm_platform.interfaces import Head, Metric, Objective
    from sslm_platform.jobs import Executor
    from sslm_platform.passes import Wrapper
    from sslm_platform.scheduling import Balancer, GradientBalancer, Sampler


class Options(BaseModel):
    """Base of every plugin's options: frozen, validated, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What an objective may know of the encoder's tokenizer; it writes the token ``i`` as ``tokens[i]``."""

    size: int
    pad_id: int
    mask_id: int | None
    special_ids: frozenset[int]
    tokens: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class ObjectiveContext:
    """What an objective is built with.

    ``labels`` are the head's, by id (empty for kinds without labels). ``label_counts`` says how often the
    task's training split has each, before any limit, and ``num_train`` how many examples it has; of few
    shots, those that were drawn. Where a trained model only answers, nothing is counted and both are empty.
    ``tokenizer`` is that of heads that generate.
    """

    emits: OutputKind
    vocabulary: Vocabulary
    labels: tuple[str, ...] = ()
    label_counts: tuple[int, ...] = ()
    num_train: int = 0
    tokenizer: TextTokenizer | None = None


@dataclass(frozen=True, slots=True)
class HeadContext:
    """What a head is built with; ``labels`` is empty for kinds without labels.

    ``tokenizer`` is there for heads that generate (their own, or the encoder's) and those that read masks
    (the encoder's); ``num_masks`` is how many of them the task's template has. ``lm_head`` is the encoder's
    pretrained language-model head, for tied heads, where its checkpoint has one of BERT's form: ``dense``,
    ``norm`` (weight and bias of each) and ``bias``. ``norm_eps`` is that of the encoder's layer norms.
    ``facts`` is what a saved head had in its attribute ``facts``, JSON content; empty where a new one is
    made.
    """

    hidden_size: int
    vocabulary_size: int
    labels: tuple[str, ...]
    tokenizer: TextTokenizer | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    num_masks: int = 0
    lm_head: Mapping[str, Tensor] | None = None
    norm_eps: float = 1e-12


@dataclass(frozen=True, slots=True)
class MetricContext:
    """What a metric is built with; ``labels[i]`` is the name of id ``i``."""

    emits: OutputKind
    labels: tuple[str, ...]


def _no_head_problems(options: Any, head_options: Options) -> Iterable[Problem]:
    return ()


def _no_field_problems(options: Any, fields: Collection[str]) -> Iterable[Problem]:
    return ()


def _nothing(options: Any) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class ObjectiveDef:
    """An objective: raw examples to targets, outputs and targets to losses.

    ``needs`` maps each kind of output that the objective can score to the fields that a task must
    then have. ``changes_input`` says that it rewrites the token ids (masking), so that its task
    cannot share an encoder call with others. ``additive`` says that an example's loss does not depend on
    the rest of its batch. ``attention`` is the pattern that the encoder runs its texts with; tasks of
    different patterns never share an encoder call. ``labels`` are names of labels that the objective makes
    itself (``targets["labels"]`` are their ids). ``partners`` asks for another example with each,
    ``variants`` for each text beside what the stream's augmenters make of it. ``encoder_calls`` is how many
    times the encoder is called for a batch: on every rank as often, whatever the examples; each call is
    padded to its own longest row. ``check(options, head_options)`` yields what is wrong with the options for
    a head that has these; ``where`` is the option.
    ``makes_text`` says that the text to generate is made of the input's own tokens: there is no field for it,
    and the head writes with the encoder's tokenizer. ``rewritten`` says that the head puts other tokens in
    before the encoder reads them: it needs one that ``rewrites``.
    """

    name: str
    build: Callable[[Any, ObjectiveContext], Objective]
    needs: Mapping[OutputKind, Mapping[str, Field]]
    options: type[Options] = Options
    changes_input: bool = False
    additive: bool = True
    attention: AttentionPattern = AttentionPattern.BIDIRECTIONAL
    labels: tuple[str, ...] = ()
    partners: bool = False
    makes_text: bool = False
    rewritten: bool = False
    summary: str = ""
    variants: bool = False
    encoder_calls: int = 1
    check: Callable[[Any, Options], Iterable[Problem]] = _no_head_problems


@dataclass(frozen=True, slots=True)
class WrapperContext:
    """What a wrapper is built with."""

    emits: OutputKind


@dataclass(frozen=True, slots=True)
class WrapperDef:
    """What is made of an objective in training: several passes over a batch in place of one.

    ``kinds`` are those of the outputs that it works with. ``shifts`` says that it moves the embeddings'
    outputs, along gradients; ``probes`` that it asks for gradients by which nothing is trained.
    """

    name: str
    build: Callable[[Any, WrapperContext], Wrapper]
    kinds: frozenset[OutputKind]
    options: type[Options] = Options
    shifts: bool = False
    probes: bool = False
    summary: str = ""


@dataclass(frozen=True, slots=True)
class HeadDef:
    """A head: encoder states to outputs, outputs to predictions.

    ``tied`` says that the head's ``forward`` reads vocabulary logits that the encoder's module has
    made with its own embedding matrix from the head's ``transform``. ``check(options, fields)`` yields what
    is wrong with the options for a task that has these fields; ``where`` is the option. ``reads_masks``
    says that it reads the states of mask tokens, at ``targets["markers"]``, which the task's template must
    have. ``rewrites`` says that it is a :class:`~sslm_platform.interfaces.RewritingHead`, ``whole`` that
    ZeRO cannot shard it. ``reads`` is that of an :class:`AugmenterDef`; hub names have no content there.
    """

    name: str
    build: Callable[[Any, HeadContext], Head | GeneratingHead | WritingHead]
    emits: OutputKind
    options: type[Options] = Options
    tied: bool = False
    reads_masks: bool = False
    summary: str = ""
    check: Callable[[Any, Collection[str]], Iterable[Problem]] = _no_field_problems
    rewrites: bool = False
    whole: bool = False
    reads: Callable[[Any], Mapping[str, str]] = _nothing

    @property
    def no_probe(self) -> str:
        """Why a new head of this kind cannot be fitted to frozen states, or nothing where it can."""
        if self.tied:
            return "a head tied to the embedding has no probe"
        if self.rewrites:
            return "a head that rewrites its input has no probe"
        if self.emits in (OutputKind.VECTORS, OutputKind.RANKING):
            return "a head of vectors has no probe: what they are compared with is the batch"
        return "a head that generates text has no probe" if self.emits.is_generated else ""


@dataclass(frozen=True, slots=True)
class MetricDef:
    """A metric. ``best`` is the value of a perfect predictor and must be finite.

    ``needs_scores`` says that it reads ``Scored.scores`` and not only predictions; without
    ``needs_predictions`` it reads losses alone, for which no text has to be generated.
    ``descriptive`` says that it describes predictions (how diverse, how long) and ranks none: it has neither
    a best value nor a direction, and cannot be what models are chosen by.
    """

    name: str
    build: Callable[[Any, MetricContext], Metric]
    accepts: frozenset[OutputKind]
    higher_is_better: bool = True
    best: float = 1.0
    options: type[Options] = Options
    descriptive: bool = False
    summary: str = ""
    needs_scores: bool = False
    needs_predictions: bool = True


def _no_problems(options: Any, tasks: Mapping[str, Sequence[str]]) -> Iterable[Problem]:
    return ()


@dataclass(frozen=True, slots=True)
class SamplerDef:
    """A sampler: which feed each slot is drawn from.

    ``check(options, tasks)`` yields what is wrong with the options of a run whose feeds have these tasks;
    ``where`` is the option. A source of a transfer cell trains some of the feeds: patterns that match none of
    *those* are no error. ``needs_scores`` says that the sampler follows dev scores, ``staged`` that it is a
    :class:`~sslm_platform.interfaces.StagedSampler`.
    """

    name: str
    build: Callable[[Any], Sampler]
    options: type[Options] = Options
    summary: str = ""
    check: Callable[[Any, Mapping[str, Sequence[str]]], Iterable[Problem]] = _no_problems
    needs_scores: bool = False
    staged: bool = False


@dataclass(frozen=True, slots=True)
class BalancerDef:
    """A balancer: the weight of each task's mean loss in the step's loss.

    ``needs_losses`` says that the weights of a step depend on its own losses: the platform then runs the
    step's slots forward once more, without gradients, before the first backward. ``needs_losses_after`` asks
    for the same after the update. ``compares_tasks`` says that it does nothing in steps of one task.
    ``gradients`` says that it builds a :class:`~sslm_platform.interfaces.GradientBalancer`. ``check`` is as
    in :class:`SamplerDef`; a problem of the balancer itself has no ``where``.
    """

    name: str
    build: Callable[[Any], Balancer | GradientBalancer]
    options: type[Options] = Options
    summary: str = ""
    check: Callable[[Any, Mapping[str, Sequence[str]]], Iterable[Problem]] = _no_problems
    needs_losses: bool = False
    needs_losses_after: bool = False
    compares_tasks: bool = False
    gradients: bool = False


@dataclass(frozen=True, slots=True)
class EstimatorDef:
    """An estimator of transferability: how much training on a source should help a target.

    ``needs`` says what it reads; ``targets`` are the kinds of output of the targets that it can score.
    ``signed`` says that 0 means no effect and below 0 harm, in one unit for all targets.
    """

    name: str
    build: Callable[[Any], Estimator]
    needs: frozenset[EvidenceKind]
    targets: frozenset[OutputKind]
    options: type[Options] = Options
    signed: bool = False
    summary: str = ""


@dataclass(frozen=True, slots=True)
class ExecutorDef:
    """What gets the work of a transfer run done: in this process, in several, on a cluster."""

    name: str
    build: Callable[[Any], Executor]
    options: type[Options] = Options
    summary: str = ""


@dataclass(frozen=True, slots=True)
class AugmenterDef:
    """An augmenter: training texts changed a little, and in each pass differently.

    ``rewrites`` says that no word of its texts stands for one of the original's: texts with tags are refused.
    ``reads(options)`` names the content of what the options name on disk, by its place in them: a training
    is another one when that has changed. It raises :class:`~sslm_platform.errors.SpecError` where nothing is.
    """

    name: str
    build: Callable[[Any], Augmenter]
    options: type[Options] = Options
    summary: str = ""
    rewrites: bool = False
    reads: Callable[[Any], Mapping[str, str]] = _nothing


Definition = (
    ObjectiveDef
    | WrapperDef
    | HeadDef
    | MetricDef
    | SamplerDef
    | BalancerDef
    | AugmenterDef
    | EstimatorDef
    | ExecutorDef
)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a definition is from."""

    plugin: str
    distribution: str
    version: str
