"""The import rules of ``docs/architecture.md``, read from the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sslm_platform.plugins import host

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sslm_platform"
FILES = sorted(PACKAGE.rglob("*.py"))

# A unit may import from the lines above its own, and from its own line.
LAYERS = (
    (
        "errors",
        "kinds",
        "types",
        "interfaces",
        "generating",
        "scheduling",
        "augmenting",
        "passes",
        "jobs",
        "steps",
        "evidence",
        "files",
        "signals",
        "statistics",
    ),
    ("hookspecs", "registry", "api", "report"),
    ("plugins",),
    ("spec",),
    ("data", "model", "schedule", "engine"),
    ("corpus", "ranking", "gathering", "decisions", "evaluate", "scoring", "baselines"),
    ("train", "predict"),
    ("transfer",),
    ("testing",),
    (
        "runs",
        "comparison",
        "tables",
        "cli_ending",
        "cli_options",
        "cli_prediction",
        "cli_report",
        "cli_transfer",
        "cli",
        "__init__",
        "__main__",
    ),
)
SIBLINGS = {"data", "model", "schedule", "engine"}  # none of these imports another
REPORT_MAY_IMPORT = {"report", "errors", "kinds", "types", "files", "statistics"}
OWNERS = {"deepspeed": "engine", "transformers": "model", "peft": "model", "datasets": "data"}
HEAVY = ("torch", "transformers", "peft", "datasets", "deepspeed", "sklearn", "matplotlib", "plotly")
LIGHT = ("sslm_platform", "sslm_platform.api", "sslm_platform.cli", "sslm_platform.spec.resolve",
         "sslm_platform.report.render", "sslm_platform.statistics", "sslm_platform.engine.check",
         "sslm_platform.runs")  # fmt: skip


def unit_of(path: Path) -> str:
    """Return the first name below the package: a folder, or a module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer_of(unit: str) -> int:
    return next(i for i, units in enumerate(LAYERS) if unit in units)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of what runs; ``if TYPE_CHECKING`` does not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        yield from imports(node)


def own_imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (place, unit) for each import from the package."""
    for line, name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")
        if parts[0] != "sslm_platform" or len(parts) == 1:
            continue
        unit = (
            parts[1] if (PACKAGE / parts[1]).exists() or (PACKAGE / f"{parts[1]}.py").exists() else "__init__"
        )
        yield f"{path.relative_to(ROOT)}:{line}", unit


def test_every_unit_has_a_layer():
    assert {unit_of(path) for path in FILES} == {unit for units in LAYERS for unit in units}


def test_imports_go_one_way():
    wrong = [
        f"{place}: {unit_of(path)} imports {unit}"
        for path in FILES
        for place, unit in own_imports(path)
        if layer_of(unit) > layer_of(unit_of(path))
    ]
    assert not wrong


def test_siblings_do_not_know_each_other():
    wrong = [
        f"{place}: {unit_of(path)} imports {unit}"
        for path in FILES
        for place, unit in own_imports(path)
        if {unit, unit_of(path)} <= SIBLINGS and unit != unit_of(path)
    ]
    assert not wrong


def test_reports_are_made_of_records_alone():
    report = [path for path in FILES if unit_of(path) == "report"]
    wrong = [p for path in report for p, unit in own_imports(path) if unit not in REPORT_MAY_IMPORT]
    assert not wrong


@pytest.mark.parametrize(("package", "owner"), OWNERS.items())
def test_each_large_dependency_has_one_owner(package, owner):
    users = {
        unit_of(path)
        for path in FILES
        for _, name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] == package
    }
    assert users == {owner}


def test_the_core_names_no_objective_head_or_metric():
    registry = host().registry
    names = {name for table in (registry.objectives, registry.heads, registry.metrics) for name in table}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value!r}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert not wrong


def test_plugins_import_the_facade_alone():
    wrong = []
    for path in sorted((ROOT / "plugins").glob("*/sslm_*/**/*.py")):
        for line, name in imports(ast.parse(path.read_text(encoding="utf-8"))):
            if name.split(".")[0] == "sslm_platform" and not name.startswith("sslm_platform.api."):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert not wrong


def test_no_command_waits_for_what_it_does_not_need():
    plugins = sorted(path.name for path in (ROOT / "plugins").glob("*/sslm_*") if path.name.isidentifier())
    program = f"""
import importlib, sys
for name in {[*LIGHT, *plugins]!r}:
    importlib.import_module(name)
    heavy = [package for package in {HEAVY!r} if package in sys.modules]
    if heavy:
        sys.exit(f"{{name}} imports {{', '.join(heavy)}}")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
