"""The behaviour that definitions build: what the platform calls, and when.

Shape suffixes: B examples, L input tokens, D hidden size, N target positions, R resamples, K statistics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

Targets = Mapping[str, "Tensor"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenized example, as a task sees it.

    ``special_L`` marks tokens that are not text. ``segment_L`` numbers the texts of a pair. Of ``tokens``
    ``word_start_W`` gives the position of each word's first token, -1 where truncation cut the word off, and
    ``word_end_W`` the position after its last one, 0 there.
    ``marker_S`` gives the positions of a template's masks, or of the markers before the two ``spans``, -1
    where cut off; ``num_bytes_L`` how many bytes of its text each token stands for (language models).
    A long context with its ``question``, and words whose tasks are all tagging, are read in windows, each a
    row of its own: the tokens are those of all of them, end to end, and ``window_S`` gives where each
    begins. Of a context ``offset_L2`` gives each token's characters, [start, end), (-1, -1) outside it.
    ``values`` holds the task's target fields: labels and tags as ids into the head's labels, values as
    floats. ``partner`` is another example of the split, for objectives that ask for ``partners``;
    ``variant`` the text as augmenters have changed it (``variants``).
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
    num_bytes_L: np.ndarray | None = None
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
        rows also give ``"example"`` and ``"position"``, (N,) each. Tags have one row for each word that
        truncation left (its first token), in order, and give ``"row"``, (N,), the row of the encoder's
        states, which are one for each window of an example; ``"end"``, (N,), the position after its last
        token; ``"word"``, (N,), its index in its example; and ``"num_words"``, (B,), which counts the words
        cut off too. ``"position"`` is where the
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


@runtime_checkable
class ScoringObjective(Protocol):
    """An objective that trains with more than its metrics should read, such as smoothed labels."""

    def score_losses(self, outputs: Tensor, targets: Targets, num_examples: int) -> Tensor:
        """Return the sum of each example's losses as they are reported, (B,)."""
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
    """A head with a threshold, or a temperature, that a dev split sets; a head may have these three.

    The platform calls ``tune`` with the dev split's scores whenever that is scored; what it sets is a buffer,
    and is saved with the head. Where no dev split was scored it is the one that it starts with.
    """

    def scores(self, outputs: Tensor, targets: Targets, num_examples: int) -> Sequence[np.ndarray]:
        """Return what each example's prediction is decided from (``label_set_logits``: probabilities)."""
        ...

    def decide(self, scores: Sequence[np.ndarray]) -> Sequence[Any]:
        """Return the predictions that these scores give with the present threshold."""
        ...

    def tune(self, scored: Scored) -> Sequence[np.ndarray] | None:
        """Set what is best on these examples, in any order; return their scores if they are others now."""
        ...


@runtime_checkable
class ListingHead(Protocol):
    """A head that can list its best predictions."""

    def candidates(
        self, outputs: Tensor, targets: Targets, num_examples: int, num: int
    ) -> Sequence[Sequence[tuple[Any, float]]]:
        """Return up to ``num`` predictions of each example with their probabilities, the best first."""
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

    ``scores`` is what predictions were made of, an array for each example (of ``sequence_logits`` and
    ``label_set_logits`` each label's probability, (num_labels,)); None where neither a metric nor the head
    asks for it. ``bytes_N`` is how many bytes of text a language model's targets are.
    """

    predictions: Sequence[Any]
    references: Sequence[Any]
    losses_N: np.ndarray
    weights_N: np.ndarray
    scores: Sequence[np.ndarray] | None = None
    bytes_N: np.ndarray | None = None

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
            None if self.bytes_N is None else self.bytes_N[places],
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


@runtime_checkable
class DetailedMetric(Protocol):
    """A metric that can say more than one number: of each class, say."""

    def details(self, scored: Scored) -> Mapping[str, Mapping[str, float]]:
        """Return for each class the names and values of what is counted of it."""
        ...


def rows_by_example(rows_N: np.ndarray, example_N: np.ndarray, num_examples: int) -> list[np.ndarray]:
    """Split rows by the example they belong to, in row order; an example without rows gets an empty array."""
    order = np.argsort(example_N, kind="stable")
    sizes = np.bincount(example_N, minlength=num_examples)
    return np.split(rows_N[order], np.cumsum(sizes)[:-1])
