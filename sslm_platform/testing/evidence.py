"""Made-up evidence for estimators, from a seed: of a source that helps, or of one that does not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from sslm_platform.evidence import (
    Evidence,
    JointLog,
    Pair,
    SourceOutputs,
    TargetFeatures,
    TaskGradient,
    TaskTexts,
)
from sslm_platform.kinds import EvidenceKind, OutputKind

NAMES = ("negative", "neutral", "positive", "unseen")  # no row has the last one
NUM_SEEN = 3


@dataclass(frozen=True, slots=True)
class Made:
    """Evidence of every kind."""

    features: TargetFeatures
    outputs: SourceOutputs
    texts: Pair[TaskTexts]
    gradients: Pair[TaskGradient]
    log: JointLog

    def only(self, needs: Collection[EvidenceKind]) -> Evidence:
        """Return what an estimator with these needs is given."""
        return Evidence(**{kind: getattr(self, kind) for kind in needs})


def make_evidence(
    kind: OutputKind, *, helps: bool = True, num_rows: int = 60, size: int = 6, seed: int = 0
) -> Made:
    """Make evidence for a target of a kind of output.

    Args:
        kind: of the target.
        helps: whether features tell the targets, answers the labels, and gradients point the same way.
        num_rows: N.
        size: D.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    features = _features(kind, rng, num_rows, size)
    ids_N = rng.permutation(np.arange(num_rows) % NUM_SEEN)
    answers_NZ = np.exp(2.0 * np.eye(NUM_SEEN + 1)[ids_N] + rng.normal(size=(num_rows, NUM_SEEN + 1)))
    outputs = SourceOutputs(answers_NZ / answers_NZ.sum(axis=1, keepdims=True), ids_N, len(NAMES))
    source = _texts(rng, num_rows, size)
    gradient = TaskGradient(
        rng.normal(size=50).astype(np.float32), rng.gamma(0.2, size=50).astype(np.float32)
    )
    log = JointLog(*(tuple(rng.normal(0.1, 0.02, 20).tolist()) for _ in range(2)))
    made = Made(features, outputs, Pair(source, source), Pair(gradient, gradient), log)
    return frozen(made if helps else _spoilt(made, rng))


def shuffled(made: Made, seed: int = 1) -> Made:
    """Return the same evidence with its rows in another order."""
    rng = np.random.default_rng(seed)
    f, o = made.features, made.outputs
    i_N, j_N = rng.permutation(len(f.rows_ND)), rng.permutation(len(o.targets_N))
    texts = []
    for t in (made.texts.source, made.texts.target):
        k_N = rng.permutation(len(t.vectors_ND))
        texts.append(TaskTexts(t.vectors_ND[k_N], t.labels_N[k_N], t.names))
    return replace(
        made,
        features=replace(f, rows_ND=f.rows_ND[i_N], targets_N=f.targets_N[i_N]),
        outputs=replace(o, probabilities_NZ=o.probabilities_NZ[j_N], targets_N=o.targets_N[j_N]),
        texts=Pair(*texts),
    )


def renumbered(made: Made) -> Made:
    """Return the same evidence with its labels counted from the other end."""
    f, o = made.features, made.outputs
    texts = [
        TaskTexts(t.vectors_ND, len(t.names) - 1 - t.labels_N, t.names[::-1])
        for t in (made.texts.source, made.texts.target)
    ]
    targets_N = f.num_labels - 1 - f.targets_N if f.num_labels else f.targets_N
    return replace(
        made,
        features=replace(f, targets_N=targets_N),
        outputs=SourceOutputs(o.probabilities_NZ[:, ::-1], o.num_labels - 1 - o.targets_N, o.num_labels),
        texts=Pair(*texts),
    )


def frozen(made: Made) -> Made:
    """Make every array read-only: all estimators share them."""
    pairs = (made.texts.source, made.texts.target, made.gradients.source, made.gradients.target)
    for part in (made.features, made.outputs, *pairs):
        for name in part.__slots__:
            if isinstance(array := getattr(part, name), np.ndarray):
                array.setflags(write=False)
    return made


def _features(kind: OutputKind, rng: np.random.Generator, num_rows: int, size: int) -> TargetFeatures:
    if not kind.has_labels:
        rows_ND = rng.normal(size=(num_rows, size))
        values_N = rows_ND[:, 0] - 2.0 * rows_ND[:, 1] + 0.1 * rng.normal(size=num_rows)
        return TargetFeatures(rows_ND, values_N, 0)
    ids_N = rng.permutation(np.arange(num_rows) % NUM_SEEN)
    centres_KD = 3.0 * rng.normal(size=(NUM_SEEN, size))
    return TargetFeatures(centres_KD[ids_N] + rng.normal(size=(num_rows, size)), ids_N, len(NAMES))


def _texts(rng: np.random.Generator, num_rows: int, size: int) -> TaskTexts:
    ids_N = rng.permutation(np.arange(num_rows) % NUM_SEEN)
    centres_KD = rng.normal(size=(NUM_SEEN, size))
    rows_ND = 2.0 + centres_KD[ids_N] + 0.1 * rng.normal(size=(num_rows, size))
    return TaskTexts(rows_ND, ids_N, NAMES)


def _spoilt(made: Made, rng: np.random.Generator) -> Made:
    f, o, source, gradient = made.features, made.outputs, made.texts.source, made.gradients.source
    other = TaskTexts(-source.vectors_ND, (source.labels_N + 1) % NUM_SEEN, source.names)
    against = TaskGradient(-gradient.mean_P, rng.permutation(gradient.fisher_P))
    log = JointLog(*(tuple(-value for value in values) for values in (made.log.affinities, made.log.cosines)))
    return Made(
        replace(f, targets_N=rng.permutation(f.targets_N)),
        replace(o, targets_N=rng.permutation(o.targets_N)),
        Pair(source, other),
        Pair(gradient, against),
        log,
    )
