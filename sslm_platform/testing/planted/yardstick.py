"""How well an estimator of transferability predicts what was planted."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sslm_platform.errors import SslmError
from sslm_platform.kinds import EvidenceKind
from sslm_platform.plugins import host
from sslm_platform.report.grouping import Affinities, affinities
from sslm_platform.report.predictions import Pair, PredictedMatrix, predicted_matrices
from sslm_platform.report.ranking import kendall
from sslm_platform.spec.load import load_run_spec, validated_options
from sslm_platform.spec.resolve import resolve
from sslm_platform.spec.resolved import Bound
from sslm_platform.testing.planted.spec import write_world
from sslm_platform.testing.planted.world import World
from sslm_platform.testing.planted.worlds import domains
from sslm_platform.types import EstimatorDef, Provenance

UNREGISTERED = Provenance("under test", "under test", "0")


@dataclass(frozen=True, slots=True)
class Score:
    """What an estimator is worth in a world.

    Attributes:
        estimator: its name.
        kendall: tau-b of predicted values with planted effects over the sources of a target, mean over
            targets, in [-1, 1]; NaN where no target could be ranked.
        by_target: the same of each target that has effects; a constant prediction has 0.
        signs: for ``signed`` estimators, share of the pairs with an effect whose sign is right; else None.
        groups: what :func:`finds_groups` says of its values.
        reasons: why pairs have no value.
    """

    estimator: str
    kendall: float
    by_target: Mapping[str, float]
    signs: float | None
    groups: bool | None
    reasons: Mapping[Pair, str]


def score(
    estimator: str | EstimatorDef,
    world: World | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    seed: int = 1,
    folder: Path | None = None,
) -> Score:
    """Score an estimator against the planted truth, in a world that is trained from scratch in a minute.

    Args:
        estimator: an installed one's name, or a definition that need not be installed.
        world: default: :func:`~sslm_platform.testing.planted.domains`.
        options: of the estimator.
        seed: of the trainings.
        folder: keeps texts, models and predictions, so that other estimators need not make them again; by
            default they are thrown away.

    Raises:
        SslmError: there is no such estimator, its options are wrong, or it failed on a pair.
    """
    bound = _bound(estimator, options or {})
    world = world or domains()
    if folder is not None:
        return score_matrix(world, _predict(bound, world, seed, folder))
    with tempfile.TemporaryDirectory() as temporary:
        return score_matrix(world, _predict(bound, world, seed, Path(temporary)))


def score_matrix(world: World, matrix: PredictedMatrix) -> Score:
    """Score predicted values, however they were made, against a world's effects."""
    by_target = {task.identity: _tau(world, matrix, task.identity) for task in world.tasks}
    ranked = {target: tau for target, tau in by_target.items() if tau is not None}
    return Score(
        estimator=matrix.estimator,
        kendall=float(np.mean([*ranked.values()])) if ranked else float("nan"),
        by_target=ranked,
        signs=_signs(world, matrix) if matrix.signed else None,
        groups=_finds_groups(world, matrix),
        reasons=matrix.reasons,
    )


def finds_groups(world: World, known: Affinities) -> bool | None:
    """Return whether the best groups by these affinities, as many as were planted, are the planted ones.

    None where fewer than two groups were planted, or a pair has no value.
    """
    from sslm_platform.transfer.group_spec import plan_groups

    if len(world.groups) < 2 or known.unknown:
        return None
    return {frozenset(group) for group in plan_groups(known, len(world.groups)).groups} == world.groups


def _bound(estimator: str | EstimatorDef, options: Mapping[str, Any]) -> Bound[EstimatorDef]:
    definition, provenance = estimator, UNREGISTERED
    if isinstance(definition, str):
        entry = host().get(host().registry.estimators, definition)
        definition, provenance = entry.definition, entry.provenance
    checked = validated_options(definition.options, options, f"estimator {definition.name}: options")
    return Bound(definition, checked, provenance)


def _predict(bound: Bound[EstimatorDef], world: World, seed: int, folder: Path) -> PredictedMatrix:
    from rich.console import Console

    from sslm_platform.corpus import Corpus
    from sslm_platform.train.folder import RunFolder
    from sslm_platform.train.joint import train_joint
    from sslm_platform.transfer.predict import plan_predictions, predict_transfer
    from sslm_platform.transfer.runner import open_lab

    needs = bound.definition.needs
    spec = write_world(world, folder, [seed], noted=EvidenceKind.LOG in needs)
    corpus = Corpus(resolve(load_run_spec(spec)), folder / "cache")
    lab = open_lab(corpus, RunFolder(folder / "run"), Console(file=io.StringIO()))
    if EvidenceKind.LOG in needs:
        train_joint(corpus, lab.folder, lab.console, seed, lab.engine)
    name = bound.definition.name
    asked = [f for f in plan_predictions(corpus, [bound]) if f.estimator.definition.name == name]
    made = predict_transfer(lab, asked, may_train=True)
    for prediction in made:
        if prediction.status == "failed":
            raise SslmError(f"{name}: {prediction.source} → {prediction.target}: {prediction.reason}")
    return predicted_matrices(made)[name]


def _tau(world: World, matrix: PredictedMatrix, target: str) -> float | None:
    effects = {pair: effect for pair, effect in world.effects.items() if pair[1] == target}
    if len(set(effects.values())) < 2:
        return None
    known = [pair for pair in effects if pair in matrix.values]
    if len({effects[pair] for pair in known}) < 2:
        return None
    predicted_S = np.array([matrix.values[pair] for pair in known])
    planted_S = np.array([effects[pair] for pair in known])
    return float(np.nan_to_num(kendall(predicted_S, planted_S[None])[0]))


def _signs(world: World, matrix: PredictedMatrix) -> float:
    pairs = [pair for pair, effect in world.effects.items() if effect and pair in matrix.values]
    return float(np.mean([matrix.values[pair] * world.effects[pair] > 0 for pair in pairs]))


def _finds_groups(world: World, matrix: PredictedMatrix) -> bool | None:
    if not matrix.values:
        return None
    names = [task.identity for task in world.tasks]
    return finds_groups(world, affinities(matrix.estimator, {matrix.estimator: matrix}, None, {}, names))
