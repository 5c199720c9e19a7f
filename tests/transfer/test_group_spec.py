"""The spec that tries a grouping: it loads, and plans a model for each group, each task and all."""

from __future__ import annotations

import pytest

from sslm_platform.report.grouping import GroupPlan
from sslm_platform.spec.load import dump_spec
from sslm_platform.transfer.cells import plan_cells
from sslm_platform.transfer.group_spec import group_spec

TASKS = ("sentiment@film", "rating@film", "mlm@film", "sentiment@shop")
GROUPS = GroupPlan(
    by="guess",
    signed=True,
    method="exact",
    budget=2,
    groups=(TASKS[:3], TASKS[2:], TASKS[3:]),
    serves={TASKS[0]: 0, TASKS[1]: 0, TASKS[2]: 1, TASKS[3]: 2},
    predicted=dict.fromkeys(TASKS, 0.0),
)


@pytest.fixture
def plan(specs):
    """Return the cells of the grouping's spec, written and read again."""

    def plan(**schedule):
        content = specs.content("films", "shops", schedule={"tokens_per_batch": 256, **schedule})
        spec = group_spec(specs.resolve(content).spec, GROUPS, "tiny-groups")
        path = specs.folder / "groups.yaml"
        path.write_text(dump_spec(spec), encoding="utf-8")
        from sslm_platform.corpus import Corpus
        from sslm_platform.runs import resolve_spec
        from sslm_platform.spec.load import load_run_spec

        cells = plan_cells(Corpus(resolve_spec(load_run_spec(path)), specs.texts / "cache")).cells.values()
        return [c for c in cells if not c.is_baseline]

    return plan


def test_each_task_is_tested_in_its_group_alone_and_in_the_joint_model(plan):
    found = {(c.key.source_tasks, c.key.target) for c in plan(max_steps=8) if c.key.source != "joint"}
    assert found == {
        (TASKS[:3], TASKS[0]),
        (TASKS[:3], TASKS[1]),
        (TASKS[2:], TASKS[2]),
        *(((task,), task) for task in TASKS),
    }
    joint = {c.key.target for c in plan(max_steps=8) if c.key.source == "joint"}
    assert joint == set(TASKS)


def test_every_model_trains_a_task_as_long(plan):
    steps = {len(c.key.source_tasks): c.training.budget.max_steps for c in plan(max_steps=8)}
    assert steps == {1: 2, 2: 4, 3: 6, 4: 8}


def test_passes_over_the_data_are_the_same_for_all(plan):
    budgets = {(c.training.budget.max_steps, c.training.budget.epochs) for c in plan(epochs=2.0)}
    assert budgets == {(None, 2.0)}
