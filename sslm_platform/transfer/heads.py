"""Heads fitted to one frozen encoder: each once, for all the targets that it answers for, now or later."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sslm_platform.corpus import Corpus
from sslm_platform.evaluate import TaskModel
from sslm_platform.files import atomic_path
from sslm_platform.spec.resolved import Task
from sslm_platform.train.job import digest, metric_content, task_content
from sslm_platform.transfer.cells import PROBE
from sslm_platform.transfer.features import FeatureStore
from sslm_platform.transfer.probe import Probe, fit_probe

log = logging.getLogger(__name__)


class FittedHeads:
    """Probes by content hash, in memory and on disk.

    On disk they serve a target that is added later: without them its column would cost encoding every
    source again.

    Args:
        features: of the encoder.
        encoder: what identifies it.
        folder: where the heads are kept.
    """

    def __init__(self, features: FeatureStore, encoder: str, folder: Path) -> None:
        self.features = features
        self.encoder = encoder
        self.folder = folder
        self._probes: dict[str, Probe] = {}

    def fit(self, models: Sequence[TaskModel], seed: int) -> Probe:
        """Return the head that these tasks share, fitted to their training splits."""
        key = head_id(self.features.corpus, self.encoder, [model.task for model in models], seed)
        if key not in self._probes:
            path = head_path(self.folder, key)
            self._probes[key] = _load(path, models) or self._fitted(models, seed, path)
        return self._probes[key]

    def _fitted(self, models: Sequence[TaskModel], seed: int, path: Path) -> Probe:
        train = [self.features.read(model, "train", seed) for model in models]
        dev = [self.features.read(model, "dev", seed) for model in models]
        probe = fit_probe(models, train, dev, PROBE["inverse_l2"])  # type: ignore[arg-type]
        state = {name: value.detach().cpu().contiguous() for name, value in probe.head.state_dict().items()}
        with atomic_path(path) as aside:
            save_file(state, aside, {"inverse_l2": repr(probe.inverse_l2)})
        return probe


def head_id(corpus: Corpus, encoder: str, tasks: Sequence[Task], seed: int) -> str:
    """Return what identifies a head of some tasks, fitted to their training splits on an encoder."""
    return digest(
        {
            "encoder": encoder,
            "tasks": [task_content(corpus, task) for task in tasks],
            "metrics": [metric_content(task) for task in tasks],
            "labels": corpus.labels(tasks),
            "probe": PROBE,
            "seed": seed,
        }
    )


def head_path(folder: Path, head: str) -> Path:
    """Return where a fitted head is kept."""
    return folder / f"{head}.safetensors"


def _load(path: Path, models: Sequence[TaskModel]) -> Probe | None:
    """Return the head that was kept, in a new module of the models' kind, or None."""
    if not path.exists():
        return None
    head = models[0].head.module
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            inverse_l2 = float(file.metadata()["inverse_l2"])
        head.load_state_dict(state)
    except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
        log.warning("%s: damaged, and fitted again: %s", path, error)
        return None
    head.eval()
    return Probe(head, inverse_l2)
