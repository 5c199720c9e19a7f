"""The behaviour that definitions build: what the platform calls, and when.

Shape suffixes: B examples, L input tokens, D hidden size, N target positions, R resamples, K statistics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

Targets = Mapping[str, "Tensor"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenized example, as a task sees it.

    ``special_L`` marks tokens that are not text. ``segment_L`` numbers the texts of a pair.
    ``word_start_W`` gives the position of each word's first token, -1 where truncation cut the
    word off, and ``word_end_W`` the position after its last one, 0 there (only when the input is ``tokens``).
    ``marker_S`` gives the positions of the markers before the two ``spans``, -1 where cut off.
    With ``question`` and ``context`` the tokens are those of all windows of a long context, end to end:
    ``window_S`` gives where each begins, and ``offset_L2`` each token's characters of the context, [start,
    end), (-1, -1) where it is no part of it. The encoder reads each window as a row of its own.
    ``values`` holds the task's target fields: labels and tags as ids into the head's labels, values as
    floats. ``partner`` is another example of the same split, drawn by the example's own generator, for
    objectives that ask for ``partners``; ``variant`` the text as augmenters have changed it (``variants``).
    """

    input_ids_L: np.ndarray
    special_L: np.ndarray
    values: Mapping[str, Any]
    segment_L: np.ndarray | None = None
    word_start_W: np.ndarray | None = None
    word_end_W: np.ndarray | None = None
    marker_S: np.ndarray | None = None
    window_S: np.ndarray | None = None
    offset_L2: np.ndarray | None = None
    partner: Encoded | None = None
    variant: Encoded | None = None


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """What an objective makes of a batch.

    ``targets`` goes to the head and back to the objective's ``losses``. ``weight_B`` is each example's
    weight in the mean (1 for an example, its number of tokens for a token loss) and is known before the
    encoder runs. ``input_ids`` replaces the examples' ids when the objective changes the input: as many of
    each, or, where ``segments`` come with them that number their texts, at most as many. ``prefix_B``, (B,)
    int64, is how many first tokens of each example all of its tokens see, when the objective's ``attention``
    is ``prefix``. ``windows`` say where an example's rows begin in its ``input_ids``, ``calls`` which of the
    ``encoder_calls`` reads each, from 0.
    """

    targets: Targets
    weight_B: Tensor
    input_ids: Sequence[np.ndarray] | None = None
    segments: Sequence[np.ndarray] | None = None
    prefix_B: Tensor | None = None
    windows: Sequence[np.ndarray] | None = None
    calls: Sequence[np.ndarray] | None = None


class Objective(Protocol):
    """Made by an :class:`~sslm_platform.types.ObjectiveDef`."""

    def collate(self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]) -> TaskBatch:
        """Make targets. ``generators[i]`` is keyed by (seed, epoch, example): use no other randomness.

        By convention ``targets["labels"]`` holds the gold ids or values, (B,) or (N,), and targets of N
        rows also give ``"example"`` and ``"position"``, (N,) each. ``token_logits`` have one row for each
        word that truncation left (its first token) and give ``"word"``, (N,), the word's index in its
        example, and ``"num_words"``, (B,), which counts the words cut off too. ``"position"`` is where the
        head reads: of an objective whose ``attention`` is not bidirectional it is the token before the one
        that ``"labels"`` names.

        A metric's references are ``Encoded.values`` of the objective's one target field (a label's id, a
        float, the tags' ids of *all* words), and for ``vocabulary_logits`` each example's rows of
        ``"labels"``.
        """
        ...

    def losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return the *sum* of each example's losses in nats (or squared units), (B,)."""
        ...


class Head(Protocol):
    """Made by a :class:`~sslm_platform.types.HeadDef`; a ``torch.nn.Module``.

    The platform calls ``outputs = head(head.features(hidden_BLD, mask_BL, targets))``. A ``tied`` head
    is called as ``head(project(head.transform(features)))``, where ``project`` multiplies with the embedding
    matrix inside the encoder's module.
    """

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Reduce states to the rows that the head reads, (B or N, D). Without parameters: probes cache it."""
        ...

    def __call__(self, features: Tensor) -> Tensor:
        """Return outputs of the kind that the definition ``emits``."""
        ...

    def predict(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[Any]:
        """Return one prediction for each example, in the form that the output kind names."""
        ...


@runtime_checkable
class DecidingHead(Protocol):
    """A head whose predictions hang on a threshold that a dev split sets; a head may have these three.

    The platform calls ``tune`` with the dev split's scores whenever that is scored; what it sets is a buffer,
    and is saved with the head. Where no dev split was scored the threshold is the one that it starts with.
    """

    def scores(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return what each example's prediction is decided from (``label_set_logits``: probabilities)."""
        ...

    def decide(self, scores: Sequence[np.ndarray]) -> Sequence[Any]:
        """Return the predictions that these scores give with the present threshold."""
        ...

    def tune(self, scored: Scored) -> None:
        """Set the threshold that is best on these examples. Must not depend on their order."""
        ...


class TiedHead(Head, Protocol):
    """A head whose logits are products with the encoder's embedding matrix."""

    def transform(self, features: Tensor) -> Tensor:
        """Map (N, D) to the (N, D) that is multiplied with the embedding matrix."""
        ...


class RewritingHead(Head, Protocol):
    """A head that puts other tokens in before the encoder reads them (ELECTRA's generator).

    Its objective hides some tokens, and M rows of the targets say which: ``hidden_example`` and
    ``hidden_position``, ``hidden_ids``, which were there, and ``draw``, a number of [0, 1) of the example's
    own generator, (M,) each.
    """

    def rewrite(self, input_ids_BL: Tensor, mask_BL: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        """Return other ids, of the same shape, and the targets, perhaps others and more of them.

        It is called once for a batch. Its own loss may be among the targets, for the objective to add:
        nothing else of it is differentiated.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """All examples of one evaluation: predictions, references, and per-example loss sums and weights.

    ``scores`` is what the predictions were made of, an array for each example; None where neither a metric
    nor the head asks for it. Of ``sequence_logits`` and ``label_set_logits`` these are each label's
    probability, (num_labels,).
    """

    predictions: Sequence[Any]
    references: Sequence[Any]
    losses_N: np.ndarray
    weights_N: np.ndarray
    scores: Sequence[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.losses_N)

    def take(self, rows: Sequence[int] | np.ndarray) -> Scored:
        """Return these examples, in this order."""
        places = [int(row) for row in rows]
        return Scored(
            [self.predictions[i] for i in places],
            [self.references[i] for i in places],
            self.losses_N[places],
            self.weights_N[places],
            None if self.scores is None else [self.scores[i] for i in places],
        )


class Metric(ABC):
    """A metric that needs all examples at once (say, a rank correlation).

    Prefer :class:`DecomposableMetric`: its bootstrap is a matrix product.

    Attributes:
        signature: what one must know to compare its figures with those of others (tokenizer, smoothing,
            library); noted in the run where it is not empty.
    """

    signature: str = ""

    @abstractmethod
    def score(self, scored: Scored) -> float:
        """Return the metric of these examples."""

    def resample(self, scored: Scored, counts_RN: np.ndarray) -> np.ndarray:
        """Return the scores, (R,), where example ``n`` counts ``counts_RN[r, n]`` times."""
        return np.array(
            [self.score(scored.take(np.repeat(np.arange(len(scored)), counts_N))) for counts_N in counts_RN]
        )


class DecomposableMetric(Metric):
    """A metric that is a function of sums over examples."""

    @abstractmethod
    def statistics(self, scored: Scored) -> np.ndarray:
        """Return each example's sufficient statistics, (N, K) floats."""

    @abstractmethod
    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return the metric of each row of summed statistics, (R,). Must accept any R >= 1."""

    def score(self, scored: Scored) -> float:
        """Return the metric of the summed statistics."""
        return float(self.finalize(self.statistics(scored).sum(axis=0, keepdims=True))[0])

    def resample(self, scored: Scored, counts_RN: np.ndarray) -> np.ndarray:
        """Return the scores, (R,), from one matrix product."""
        return self.finalize(counts_RN.astype(np.float64) @ self.statistics(scored))


def rows_by_example(rows_N: np.ndarray, example_N: np.ndarray, num_examples: int) -> list[np.ndarray]:
    """Split rows by the example they belong to, in row order; an example without rows gets an empty array."""
    order = np.argsort(example_N, kind="stable")
    sizes = np.bincount(example_N, minlength=num_examples)
    return np.split(rows_N[order], np.cumsum(sizes)[:-1])


Memory = Mapping[str, Any]
"""What a sampler or balancer has learned: JSON content, kept in checkpoints; empty at the start."""


@dataclass(frozen=True, slots=True)
class SamplingState:
    """What a sampler may look at for one slot: never the rank or the number of ranks."""

    step: int
    num_steps: int
    feeds: tuple[str, ...]
    sizes: tuple[int, ...]  # training examples in each feed
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of each feed
    slot: int = 0  # of the step's
    slots_per_step: int = 1
    memory: Memory = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DevScore:
    """A task's primary metric on its dev split, beside the constant predictor's and a perfect one's."""

    value: float
    constant: float
    best: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What training has shown, equal on all ranks: losses after every step, scores after a scoring."""

    slots: Mapping[str, int] = field(default_factory=dict)  # of each feed that was drawn
    losses: Mapping[str, float] = field(default_factory=dict)  # mean over the step's examples, by task
    scores: Mapping[str, DevScore] = field(default_factory=dict)  # by task


class Sampler(Protocol):
    """Made by a :class:`~sslm_platform.types.SamplerDef`; a pure function of its state."""

    def probabilities(self, state: SamplingState) -> np.ndarray:
        """Return the probability that this slot is drawn from each feed; sums to 1."""
        ...


@runtime_checkable
class LearningSampler(Sampler, Protocol):
    """A sampler that follows the training; what it has seen is in ``state.memory`` and nowhere else."""

    def observe(self, state: SamplingState, observation: Observation) -> Memory:
        """Return the memory that the next slots see."""
        ...


@runtime_checkable
class StagedSampler(Sampler, Protocol):
    """A sampler whose training has stages."""

    def stages(self, state: SamplingState) -> Sequence[tuple[int, Sequence[str]]]:
        """Return, of each stage in order, how many steps are done when it ends, and the feeds it is about."""
        ...


@dataclass(frozen=True, slots=True)
class BalancingState:
    """What a balancer may look at in one step, equal on all ranks.

    Attributes:
        tasks: all tasks of the training, sorted; most steps have but some of them.
        shares: slots of each task of this step, sorted, divided by all slots of the step.
        losses: this step's mean losses, before its update; for ``weights`` only where the definition
            ``needs_losses``. A task none of whose examples has a target has no loss.
        losses_after: the same examples' losses after the update, where it ``needs_losses_after``.
    """

    step: int
    num_steps: int
    seed: int
    tasks: tuple[str, ...]
    shares: Mapping[str, float]
    memory: Memory = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    losses_after: Mapping[str, float] = field(default_factory=dict)


class Balancer(Protocol):
    """Made by a :class:`~sslm_platform.types.BalancerDef`; a pure function of its state."""

    def weights(self, state: BalancingState) -> Mapping[str, float]:
        """Return the weight >= 0 of each task of this step, w_t in sum_t share_t · w_t · loss_t."""
        ...


@runtime_checkable
class GradientBalancer(Protocol):
    """A balancer of gradients, one for each task, made by a definition with ``gradients``."""

    def combine(self, state: BalancingState, gramian_TT: np.ndarray) -> tuple[Sequence[float], Memory]:
        """Return the weight of each task's gradient of the encoder, and the memory that the next step sees.

        Args:
            state: with this step's losses.
            gramian_TT: inner products of the gradients of the tasks' parts of the step's loss,
                share_t · loss_t, of ``balancer.scope``, in the order of ``state.shares``; T >= 2 tasks.
        """
        ...


@runtime_checkable
class LearningBalancer(Balancer, Protocol):
    """A balancer that follows the losses; what it has seen is in ``state.memory`` and nowhere else."""

    def observe(self, state: BalancingState) -> Memory:
        """Return the memory that the next step sees."""
        ...
