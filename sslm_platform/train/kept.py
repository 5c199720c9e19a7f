"""The models of the best dev scorings, on the disk of rank 0."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from sslm_platform.errors import Problem, RunError
from sslm_platform.model.store import check_model
from sslm_platform.train.folder import RunFolder


class KeptModels:
    """A folder a model while the training lasts, and ``train/model``, which points to the best.

    A model's folder is written once. Those that the last two checkpoints count on stay until the training is
    finished or others are written: one that is killed in between, or whose last checkpoint is damaged, finds
    them.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._best = folder.model
        self._models = folder.models

    def path(self, step: int) -> Path:
        """Return where the model of a step is."""
        return self._models / f"step-{step}"

    def choose(self, step: int) -> None:
        """Point to the best one."""
        if not self._best.is_symlink():
            shutil.rmtree(self._best, ignore_errors=True)
        aside = self._best.with_name(f".{self._best.name}.part")
        aside.unlink(missing_ok=True)
        aside.symlink_to(self.path(step).relative_to(self._best.parent))
        aside.replace(self._best)

    def prune(self, steps: Iterable[int]) -> None:
        """Remove the models of all other steps."""
        kept = {self.path(step).name for step in steps}
        for folder in self._models.glob("*"):
            if folder.name not in kept:
                shutil.rmtree(folder)
        if self._models.is_dir() and not any(self._models.iterdir()):
            self._models.rmdir()

    def restore(self, steps: list[int], before: Iterable[int]) -> None:
        """Undo what came after the checkpoint that counts on these steps, the best first.

        Args:
            steps: that the checkpoint keeps.
            before: that the one before it keeps.

        Raises:
            RunError: one of their models is missing or damaged.
        """
        self.prune([*steps, *before])
        if steps and not self.path(steps[0]).exists() and self._best.exists() and not self._best.is_symlink():
            self._models.mkdir(exist_ok=True)  # it was settled, and then the end was killed
            self._best.replace(self.path(steps[0]))
        for step in steps:
            place = self.path(step)
            if not place.exists():
                raise RunError(Problem(str(place), f"is missing: the model of step {step}, which is kept"))
            check_model(place)
        if steps:
            self.choose(steps[0])
        elif self._best.is_symlink():
            self._best.unlink()

    def settle(self, step: int) -> None:
        """Put the best one in its place for good."""
        if self._best.is_symlink():
            self._best.unlink()
            self.path(step).replace(self._best)
