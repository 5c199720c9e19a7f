"""The guide's code is the tutorial plugin's code, and its ten lines are a plugin that conforms."""

import re
from pathlib import Path

import pytest

from sslm_platform.testing import checks_of

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "writing-plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
EXCERPTS = [block for block in BLOCKS if block.startswith("# plugins/")]


@pytest.mark.parametrize("block", EXCERPTS, ids=lambda block: block.splitlines()[0][2:])
def test_excerpts_are_verbatim(block):
    first, code = block.split("\n", 1)
    assert code in (ROOT / first.removeprefix("# ")).read_text(encoding="utf-8")


def test_the_task_is_the_readmes():
    (task,) = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)
    assert task in (ROOT / "plugins" / "sslm-example" / "README.md").read_text(encoding="utf-8")


def test_ten_lines_make_a_plugin_that_conforms():
    (code,) = [block for block in BLOCKS if block not in EXCERPTS]
    module: dict = {}
    exec(code, module)
    (definition,) = module["sslm_metrics"]()
    for check in checks_of(definition):
        check()
