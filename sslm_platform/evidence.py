"""What a transferability estimator may look at: computed once by the platform, shared by all estimators.

Shape suffixes: N rows (examples, or words of a tagging task), D hidden size, Z labels of the source, P
coordinates of the encoder's parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from sslm_platform.errors import PluginError
from sslm_platform.kinds import EvidenceKind

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class TargetFeatures:
    """The target's training split as its head reads it from the encoder that was trained on the source.

    Attributes:
        rows_ND: float64.
        targets_N: int64 ids in [0, num_labels), or float64 values where ``num_labels`` is 0.
        num_labels: of the target; some may have no row.
    """

    rows_ND: np.ndarray
    targets_N: np.ndarray
    num_labels: int


@dataclass(frozen=True, slots=True, eq=False)
class SourceOutputs:
    """What the source's model answers for the target's training split.

    Attributes:
        probabilities_NZ: float64, rows sum to 1: the source's labels.
        targets_N: int64 ids of the target's labels, in [0, num_labels).
        num_labels: of the target; some may have no row.
    """

    probabilities_NZ: np.ndarray
    targets_N: np.ndarray
    num_labels: int


@dataclass(frozen=True, slots=True, eq=False)
class TaskTexts:
    """A task's training texts, each the mean of its tokens' states under the pretrained encoder.

    Attributes:
        vectors_ND: float64, one row a text.
        labels_N: int64 ids into ``names``, -1 where a text as a whole has no label.
        names: label names; empty for a task whose texts have no labels (tags, values, masked words).
    """

    vectors_ND: np.ndarray
    labels_N: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TaskGradient:
    """A task's gradient at the pretrained encoder, under a head that was fitted to it as a probe.

    Attributes:
        mean_P: float32, gradient of the mean training loss.
        fisher_P: float32, mean of single examples' squared gradients (the empirical Fisher information).
    """

    mean_P: np.ndarray
    fisher_P: np.ndarray


@dataclass(frozen=True, slots=True)
class JointLog:
    """What the run's joint training noted of the pair, one entry for each step in which both had a loss.

    Attributes:
        affinities: 1 - (target's loss after a step along the source's gradient) / (its loss before).
        cosines: of the two tasks' gradients.
    """

    affinities: tuple[float, ...]
    cosines: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Pair(Generic[T]):
    """The same of a source and of a target. A source of several tasks is their union, or their mean."""

    source: T
    target: T


class Evidence:
    """What an estimator declared to need, for one source and one target.

    Raises:
        PluginError: on reading what was not declared.
    """

    def __init__(
        self,
        *,
        features: TargetFeatures | None = None,
        outputs: SourceOutputs | None = None,
        texts: Pair[TaskTexts] | None = None,
        gradients: Pair[TaskGradient] | None = None,
        log: JointLog | None = None,
    ) -> None:
        self._given = {
            EvidenceKind.FEATURES: features,
            EvidenceKind.OUTPUTS: outputs,
            EvidenceKind.TEXTS: texts,
            EvidenceKind.GRADIENTS: gradients,
            EvidenceKind.LOG: log,
        }

    @property
    def features(self) -> TargetFeatures:
        """The target under the source's encoder."""
        return self._get(EvidenceKind.FEATURES)

    @property
    def outputs(self) -> SourceOutputs:
        """The source's answers for the target."""
        return self._get(EvidenceKind.OUTPUTS)

    @property
    def texts(self) -> Pair[TaskTexts]:
        """Both tasks' texts under the pretrained encoder."""
        return self._get(EvidenceKind.TEXTS)

    @property
    def gradients(self) -> Pair[TaskGradient]:
        """Both tasks' gradients at the pretrained encoder."""
        return self._get(EvidenceKind.GRADIENTS)

    @property
    def log(self) -> JointLog:
        """What the joint training noted."""
        return self._get(EvidenceKind.LOG)

    def _get(self, kind: EvidenceKind) -> Any:
        value = self._given[kind]
        if value is None:
            raise PluginError(f"an estimator reads {kind} without naming it in needs")
        return value


class Estimator(Protocol):
    """Made by an :class:`~sslm_platform.types.EstimatorDef`; a pure function of the evidence."""

    def score(self, evidence: Evidence) -> float:
        """Return a finite number that is higher where the source should help the target more.

        Only the order of sources for one target means something, unless the definition is ``signed``.

        Raises:
            UndefinedError: the formula has no meaning for this pair; the message says why.
        """
        ...
