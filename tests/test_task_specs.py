"""Every spec that is shipped means something with the plugins that are shipped."""

from pathlib import Path

import pytest
import yaml

from sslm_platform.runs import resolve_spec
from sslm_platform.spec.load import load_run_spec

FOLDER = Path(__file__).parents[1] / "task_specs"
FILES = sorted(FOLDER.rglob("*.y*ml"))
RUNS = [path for path in FILES if "encoder" in yaml.safe_load(path.read_text(encoding="utf-8"))]
MINIMAL = {"name": "minimal", "encoder": {"path": "somewhere"}, "schedule": {"max_steps": 1}}


def test_there_is_a_quickstart():
    assert FOLDER / "quickstart.yaml" in RUNS


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_runs_resolve(path):
    run = resolve_spec(load_run_spec(path))
    assert run.spec.name == path.stem
    assert run.tasks


@pytest.mark.parametrize("path", [p for p in FILES if p not in RUNS], ids=lambda path: path.stem)
def test_stream_files_resolve_in_any_run(path, tmp_path):
    spec = tmp_path / "minimal.yaml"
    spec.write_text(yaml.safe_dump({**MINIMAL, "include": [str(path)]}), encoding="utf-8")
    run = resolve_spec(load_run_spec(spec))
    written = yaml.safe_load(path.read_text(encoding="utf-8"))["streams"]
    assert len(run.tasks) == sum(len(stream["tasks"]) for stream in written)
