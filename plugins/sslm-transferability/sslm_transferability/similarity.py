"""Similarities of two tasks as the pretrained encoder sees them: no source is trained."""

from __future__ import annotations

import numpy as np

from sslm_platform.api import Evidence, TaskTexts, UndefinedError


class TextEmbedding:
    """cos(mean source text, mean target text), texts being means of token states, (N, D).

    Vu et al. 2020, "Exploring and predicting transferability across NLP tasks", section 4.1 (TextEmb).
    """

    def score(self, evidence: Evidence) -> float:
        """Return the cosine, in [-1, 1]."""
        texts = evidence.texts
        return cosine(texts.source.vectors_ND.mean(axis=0), texts.target.vectors_ND.mean(axis=0))


class LabelEmbedding:
    """Mean over the target's labels of the cosine to the source's label of the same name.

    A label is the mean of its texts (a prototype: Snell et al. 2017, "Prototypical networks for few-shot
    learning") minus the mean of its task's labels. A target's label whose name the source lacks takes its
    nearest one. Opposite uses of the same names give a negative value.
    """

    def score(self, evidence: Evidence) -> float:
        """Return the mean cosine, in [-1, 1]."""
        source, target = (_prototypes(t) for t in (evidence.texts.source, evidence.texts.target))
        best = []
        for name, vector_D in target.items():
            rivals = [source[name]] if name in source else list(source.values())
            best.append(max(cosine(vector_D, rival_D) for rival_D in rivals))
        return float(np.mean(best))


class TaskEmbedding:
    """cos of the two tasks' empirical Fisher informations, the diagonals over encoder parameters, (P,).

    Vu et al. 2020, section 4.2 (TaskEmb), after Achille et al. 2019, "Task2Vec". Here the encoder is the
    pretrained one under a fitted head, as in Task2Vec; Vu et al. fine-tune it first.
    """

    def score(self, evidence: Evidence) -> float:
        """Return the cosine, in [0, 1]."""
        gradients = evidence.gradients
        return cosine(gradients.source.fisher_P, gradients.target.fisher_P)


class GradientCosine:
    """cos of the gradients of the two tasks' mean losses at the pretrained encoder, (P,).

    The first-order effect of a step for the source on the target's loss, without its length; Du et al. 2018,
    "Adapting auxiliary losses using gradient similarity", use it to weigh auxiliary tasks.
    """

    def score(self, evidence: Evidence) -> float:
        """Return the cosine, in [-1, 1]; below 0 a step for the source harms the target."""
        gradients = evidence.gradients
        return cosine(gradients.source.mean_P, gradients.target.mean_P)


def cosine(a_P: np.ndarray, b_P: np.ndarray) -> float:
    """Return the cosine of two vectors.

    Raises:
        UndefinedError: one of them is zero.
    """
    a_P, b_P = np.asarray(a_P, np.float64), np.asarray(b_P, np.float64)
    norms = float(np.linalg.norm(a_P) * np.linalg.norm(b_P))
    if norms == 0.0:
        raise UndefinedError("a vector is zero, and has no direction")
    return float(np.clip(a_P @ b_P / norms, -1.0, 1.0))


def _prototypes(texts: TaskTexts) -> dict[str, np.ndarray]:
    present = np.unique(texts.labels_N[texts.labels_N >= 0])
    if len(present) < 2:
        raise UndefinedError("a task's texts have fewer than two labels")
    means_YD = np.stack([texts.vectors_ND[texts.labels_N == label].mean(axis=0) for label in present])
    centred_YD = means_YD - means_YD.mean(axis=0)
    return {texts.names[label]: row_D for label, row_D in zip(present, centred_YD, strict=True)}
