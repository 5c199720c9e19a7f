"""What the documents say is so: links lead somewhere, specs resolve, generated pages are fresh."""

import inspect
import re
import runpy
from pathlib import Path

import pytest
import yaml

from sslm_platform import hookspecs
from sslm_platform.plugins import KNOWN_HOOKS
from sslm_platform.runs import resolve_spec
from sslm_platform.spec.load import load_run_spec

ROOT = Path(__file__).parents[1]
GENERATOR = runpy.run_path(str(ROOT / "docs" / "generate.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
         *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "plugins").glob("*/README.md"))]  # fmt: skip
LINK = re.compile(r"\]\(([^)\s]+)\)")


def read(name: str | Path) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page: str | Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", read(page), flags=re.DOTALL)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(("name", "text"), GENERATOR["pages"]().items(), ids=lambda value: value[:7])
def test_generated_pages_are_fresh(name, text):
    assert read(f"docs/{name}") == text, "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in [GENERATOR["anchor"](heading) for heading in headings], link


@pytest.mark.parametrize("name", KNOWN_HOOKS)
def test_every_hook_is_documented_with_its_signature(name):
    signature = str(inspect.signature(getattr(hookspecs, name))).replace("'", "")
    assert f"| `{name}{signature}` |" in read("docs/writing-plugins.md")


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page in PAGES for block in blocks(page, "yaml")],
    ids=lambda value: value.stem if isinstance(value, Path) else value.split(":")[0],
)
def test_yaml_blocks_are_specs(page, block, tmp_path):
    """A block is a spec, or keys of one: streams, a stream's tasks, what goes with the quickstart's."""
    content = yaml.safe_load(block)
    assert set(content) <= {
        "name",
        "encoder",
        "streams",
        "schedule",
        "balancer",
        "optimizer",
        "engine",
        "evaluation",
        "checkpoint",
        "transfer",
        "prediction",
        "tasks",
    }
    if not {"encoder", "schedule"} <= set(content):
        content = {
            "name": "minimal",
            "encoder": {"path": "somewhere"},
            "schedule": {"max_steps": 1},
            **content,
        }
    if isinstance(content.get("tasks"), list):
        data = {"source": "files", "path": "x.jsonl", "format": {"name": "jsonl"}}
        stream = {
            "name": "minimal",
            "domain": "d",
            "data": data,
            "split": {"by": "hash"},
            "tasks": content.pop("tasks"),
        }
        content["streams"] = [stream]
    elif "streams" not in content:
        quickstart = yaml.safe_load(read("task_specs/quickstart.yaml"))
        content["include"] = [str(ROOT / "task_specs" / path) for path in quickstart["include"]]
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert resolve_spec(load_run_spec(spec)).tasks


def test_python_blocks_compile_and_the_plugin_is_the_guides():
    plugin = blocks("docs/writing-plugins.md", "python")[0]
    found = blocks("README.md", "python")
    assert plugin in found
    for block in found:
        compile(block, "README.md", "exec")


def test_commands_exist():
    """Each `sslm` line of the README has a section in cli.md, which is generated, and options found there."""
    sections = re.split(r"^## `(sslm [\w ]+)`$", read("docs/cli.md"), flags=re.MULTILINE)
    known = dict(zip(sections[1::2], sections[2::2], strict=True))
    lines = [line for block in blocks("README.md", "console") for line in block.splitlines()]
    commands = [line[2:].split(" #")[0] for line in lines if line.startswith("$ sslm ")]
    assert commands
    for command in commands:
        section = known[max((name for name in known if f"{command} ".startswith(f"{name} ")), key=len)]
        for option in re.findall(r"--[\w-]+", command):
            assert f"`{option}" in section, command
    targets = re.findall(r"make ([a-z]+)", "\n".join(lines) + read("CONTRIBUTING.md"))
    assert targets
    assert all(re.search(rf"^{target}:", read("Makefile"), flags=re.MULTILINE) for target in targets)
