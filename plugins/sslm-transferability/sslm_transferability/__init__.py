"""Estimators of transferability: what training on a source should do for a target, without doing it.

scikit-learn is imported when an estimator scores, not here.
"""

from __future__ import annotations

from collections.abc import Iterable

from sslm_platform.api import EstimatorDef, EvidenceKind, OutputKind, hookimpl
from sslm_transferability.h_score import HScore, ShrunkHScore
from sslm_transferability.leep import LEEP
from sslm_transferability.logme import LogME
from sslm_transferability.n_leep import NLEEP, NLEEPOptions
from sslm_transferability.similarity import GradientCosine, LabelEmbedding, TaskEmbedding, TextEmbedding
from sslm_transferability.steps import JointGradientCosine, TagAffinity
from sslm_transferability.transrate import TransRate, TransRateOptions

LABELLED = frozenset({OutputKind.SEQUENCE_LOGITS, OutputKind.TOKEN_LOGITS})
HEADED = LABELLED | {OutputKind.SEQUENCE_VALUES}
ALL = frozenset(OutputKind)


@hookimpl
def sslm_estimators() -> Iterable[EstimatorDef]:
    """Register the built-in estimators."""
    yield from _of_source_models()
    yield from _of_the_pretrained_encoder()
    yield from _of_the_joint_run()


def _of_source_models() -> Iterable[EstimatorDef]:
    features = frozenset({EvidenceKind.FEATURES})
    yield EstimatorDef(
        "logme",
        lambda options: LogME(),
        needs=features,
        targets=HEADED,
        summary="Evidence of a linear model on the source's features (You et al. 2021).",
    )
    yield EstimatorDef(
        "h_score",
        lambda options: HScore(),
        needs=features,
        targets=LABELLED,
        summary="Between-class variance of whitened features (Bao et al. 2019).",
    )
    yield EstimatorDef(
        "h_score_shrunk",
        lambda options: ShrunkHScore(),
        needs=features,
        targets=LABELLED,
        summary="H-score with Ledoit and Wolf's covariance (Ibrahim et al. 2021).",
    )
    yield EstimatorDef(
        "transrate",
        TransRate,
        needs=features,
        targets=LABELLED,
        options=TransRateOptions,
        summary="Coding rate that the labels explain (Huang et al. 2022).",
    )
    yield EstimatorDef(
        "n_leep",
        NLEEP,
        needs=features,
        targets=LABELLED,
        options=NLEEPOptions,
        summary="LEEP over a Gaussian mixture of the features (Li et al. 2021).",
    )
    yield EstimatorDef(
        "leep",
        lambda options: LEEP(),
        needs=frozenset({EvidenceKind.OUTPUTS}),
        targets=LABELLED,
        summary="Target labels from the source's answers (Nguyen et al. 2020).",
    )


def _of_the_pretrained_encoder() -> Iterable[EstimatorDef]:
    yield EstimatorDef(
        "text_embedding",
        lambda options: TextEmbedding(),
        needs=frozenset({EvidenceKind.TEXTS}),
        targets=ALL,
        summary="Cosine of the mean texts (TextEmb, Vu et al. 2020).",
    )
    yield EstimatorDef(
        "label_embedding",
        lambda options: LabelEmbedding(),
        needs=frozenset({EvidenceKind.TEXTS}),
        targets=frozenset({OutputKind.SEQUENCE_LOGITS}),
        summary="Cosine of the labels' mean texts, each task centred.",
    )
    gradients = frozenset({EvidenceKind.GRADIENTS})
    yield EstimatorDef(
        "task_embedding",
        lambda options: TaskEmbedding(),
        needs=gradients,
        targets=HEADED,
        summary="Cosine of the Fisher informations (TaskEmb, Vu et al. 2020).",
    )
    yield EstimatorDef(
        "gradient_cosine",
        lambda options: GradientCosine(),
        needs=gradients,
        targets=HEADED,
        signed=True,
        summary="Cosine of the losses' gradients at the pretrained encoder.",
    )


def _of_the_joint_run() -> Iterable[EstimatorDef]:
    log = frozenset({EvidenceKind.LOG})
    yield EstimatorDef(
        "tag_affinity",
        lambda options: TagAffinity(),
        needs=log,
        targets=ALL,
        signed=True,
        summary="What a step for the source does to the target's loss (TAG, Fifty et al. 2021).",
    )
    yield EstimatorDef(
        "joint_gradient_cosine",
        lambda options: JointGradientCosine(),
        needs=log,
        targets=ALL,
        signed=True,
        summary="Mean cosine of the tasks' gradients over the joint training.",
    )
