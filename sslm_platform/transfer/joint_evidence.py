"""Evidence from the run's joint training: what its steps noted of pairs of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sslm_platform.corpus import Corpus
from sslm_platform.errors import UndefinedError
from sslm_platform.evidence import JointLog
from sslm_platform.report.curves import read_curves
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.joint import is_done, joint_id

Steps = Sequence[Mapping[str, Any]]


def read_steps(corpus: Corpus, folder: RunFolder) -> Steps:
    """Return the steps of the finished joint training.

    Raises:
        UndefinedError: it is not finished, or was another one.
    """
    if not is_done(folder, joint_id(corpus, corpus.run.spec.seed)):
        raise UndefinedError("the joint training of this spec is not done: `sslm train` does it")
    return read_curves(folder.train / "metrics.jsonl").steps


def joint_log(steps: Steps, source: Iterable[str], target: str) -> JointLog:
    """Return what the steps noted of a source's tasks and a target; of several tasks, their mean."""
    tasks = [task for task in source if task != target]
    affinities = [[_affinity(step, task, target) for task in tasks] for step in steps]
    cosines = [[_cosine(step, task, target) for task in tasks] for step in steps]
    return JointLog(_means(affinities), _means(cosines))


def _affinity(step: Mapping[str, Any], source: str, target: str) -> float | None:
    return (step.get("affinities") or {}).get(source, {}).get(target)


def _cosine(step: Mapping[str, Any], a: str, b: str) -> float | None:
    cosines = (step.get("gradients") or {}).get("cosines", {})
    found: float | None = cosines.get(a, {}).get(b, cosines.get(b, {}).get(a))
    return found


def _means(rows: Iterable[Iterable[float | None]]) -> tuple[float, ...]:
    found = [[value for value in row if value is not None] for row in rows]
    return tuple(float(np.mean(row)) for row in found if row)
