"""The README's task, in a spec of its own: does every name, option and field fit?"""

import re
import textwrap
from pathlib import Path

import pytest

from sslm_platform.errors import SpecError
from sslm_platform.spec.load import load_run_spec
from sslm_platform.spec.resolve import resolve

README = Path(__file__).parents[1] / "README.md"
SPEC = """
name: ratings
encoder: {path: any-encoder}
schedule: {max_steps: 10}
streams:
  - name: reviews
    domain: reviews
    data: {source: files, path: reviews.jsonl, format: {name: jsonl}}
    split: {by: hash}
"""


@pytest.fixture
def spec(tmp_path):
    (tasks,) = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    path = tmp_path / "ratings.yaml"
    path.write_text(SPEC + textwrap.indent(tasks, "    "), encoding="utf-8")
    return path


def test_the_readmes_task_resolves(spec):
    run = resolve(load_run_spec(spec))
    task = run.tasks["intensity@reviews"]
    assert task.objective.provenance.distribution == "sslm-example"
    assert (task.head.options.low, task.head.options.high) == (-4, 4)


def test_misspelt_option_is_found_with_its_path_and_a_suggestion(spec):
    override = "streams.0.tasks.0.objective.options={detla: 2.0}"
    with pytest.raises(SpecError, match=r"tasks\[0\]\.objective\.options\.detla.*did you mean delta"):
        resolve(load_run_spec(spec, [override]))


def test_head_without_its_bounds_is_refused(spec):
    with pytest.raises(SpecError, match=r"head\.options"):
        resolve(load_run_spec(spec, ["streams.0.tasks.0.head.options={low: 1}"]))
