"""Joint trainings that are ended in the middle, and what must then be equal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from sslm_platform.hookspecs import hookimpl
from sslm_platform.plugins import host
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.joint import train_joint
from sslm_platform.train.observers import observing


class Killed(Exception):
    pass


class Killer:
    """An observer of the platform's own that ends a training in the middle of a step."""

    def __init__(self, step):
        self.step = step

    @hookimpl
    def sslm_step_ended(self, record):
        if record.step == self.step:
            raise Killed


class Trainings:
    """What tests of joint trainings do with a run's folder."""

    # Every scoring's model is kept, so that the last step's weights are on the disk.
    sections: ClassVar = {
        "schedule": {"tokens_per_batch": 200, "slots_per_step": 2, "max_steps": 9},
        "evaluation": {"every": 2},
        "checkpoint": {"every": 3, "keep_best": 9},
    }

    def train(self, corpus, folder: Path) -> str:
        """Train, and return what was said."""
        console = Console(file=io.StringIO(), width=300)
        spec = corpus.run.spec
        train_joint(corpus, RunFolder(folder), console, spec.seed, spec.engine)
        return console.file.getvalue()

    def kill(self, corpus, folder: Path, step: int) -> None:
        """Train until the end of a step."""
        with observing(host(), Killer(step)), pytest.raises(Killed):
            self.train(corpus, folder)

    def lines(self, folder: Path, kind: str = "") -> list[dict]:
        """Return the lines of ``metrics.jsonl`` but for the time that they took."""
        found = map(json.loads, (folder / "train" / "metrics.jsonl").read_text().splitlines())
        return [{k: v for k, v in line.items() if k != "seconds"} for line in found if kind in line["kind"]]

    def done(self, folder: Path) -> dict:
        """Return what a finished training says of itself."""
        content = json.loads((folder / "train" / "done.json").read_text())
        return {key: value for key, value in content.items() if key != "seconds"}

    def assert_same(self, folder: Path, expected: Path) -> None:
        """Both are finished, with the same bits and the same story."""
        mine, theirs = _models(folder), _models(expected)
        assert mine.keys() == theirs.keys()
        assert mine
        for file in mine:
            assert mine[file].keys() == theirs[file].keys()
            for name, value in mine[file].items():
                assert torch.equal(value, theirs[file][name]), (file, name)
        assert self.lines(folder) == self.lines(expected)
        assert self.done(folder) == self.done(expected)
        assert (folder / "scores.json").read_text() == (expected / "scores.json").read_text()
        left = {path.name for path in (folder / "train").iterdir()}
        assert left <= {"done.json", "metrics.jsonl", "model", "models"}
        assert not [path for path in folder.rglob(".*") if path.suffix in (".part", ".old")]


def _models(folder):
    return {
        str(file.relative_to(folder)): load_file(file)
        for name in ("model", "models")
        for file in sorted((folder / "train" / name).rglob("*.safetensors"))
    }


@pytest.fixture(scope="session")
def trainings() -> Trainings:
    return Trainings()


@pytest.fixture(scope="session")
def whole(tmp_path_factory, texts, make_specs, trainings):
    """A corpus and the folder of its training, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    made = make_specs(folder)
    corpus = made.corpus(made.content("films", "names", **trainings.sections))
    trainings.train(corpus, folder / "run")
    return corpus, folder / "run"
