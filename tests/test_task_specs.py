"""Every spec that is shipped means something with the plugins that are shipped."""

import runpy
from pathlib import Path

import pytest
import yaml

from sslm_platform.plugins import host
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


KINDS = ("objective", "wrapper", "head", "metric", "augmenter")
OWN = {folder.name for folder in (FOLDER.parent / "plugins").iterdir()}


def test_every_definition_is_run_by_a_spec():
    """Nothing is listed that nobody can see at work; samplers and balancers are run by tests of their own."""
    page = runpy.run_path(str(FOLDER.parent / "docs" / "catalogue.py"))
    used = {pair for path in RUNS for pair in page["used_by"](resolve_spec(load_run_spec(path)))}
    tables = [table for table in host().registry.tables if table.kind in KINDS]
    listed = {
        (table.kind, name)
        for table in tables
        for name in table
        if table.get(name).provenance.distribution in OWN
    }
    assert listed - used == set()
