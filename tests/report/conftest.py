from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sslm_platform.report.render import Report
from sslm_platform.report.run import Run, read_run


@pytest.fixture(scope="session")
def sample() -> ModuleType:
    """``sample.py``; tests are not a package, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location("sslm_report_sample", Path(__file__).with_name("sample.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def folder(sample: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample run, rendered once; tests must not change it."""
    folder = sample.write_sample(tmp_path_factory.mktemp("run"))
    Report.read(folder).write(figures=True)
    return folder


@pytest.fixture(scope="session")
def run(folder: Path) -> Run:
    return read_run(folder)
