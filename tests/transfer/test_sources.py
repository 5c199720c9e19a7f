"""Selectors to sources, and the head that can answer for a target."""

from __future__ import annotations

import pytest

from sslm_platform.spec.transfer import Selector
from sslm_platform.transfer.sources import Source, expand_sources, expand_targets, head_for


@pytest.fixture
def tasks(corpus):
    return list(corpus.run.tasks.values())


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("joint", [("joint", 6)]),
        ({"task": "sentiment"}, [("sentiment@film", 1), ("sentiment@shop", 1)]),
        ({"task": ["sentiment", "mlm"], "domain": "film"}, [("sentiment@film", 1), ("mlm@film", 1)]),
        ({"by": "task", "task": ["sentiment", "mlm"]}, [("sentiment (2 tasks)", 2), ("mlm@film", 1)]),
        (
            {"identity": ["mlm@film", "names@news"], "together": True},
            [("mlm@film + names@news", 2)],
        ),
        ({"identity": "names@news", "together": True}, [("names@news", 1)]),
        ({"by": "language"}, [("en (3 tasks)", 3), ("sentiment@shop", 1)]),  # no tag: in no group
        ([{"task": "mlm"}, "joint", {"task": "mlm"}], [("mlm@film", 1), ("joint", 6)]),
        (  # groups of other tasks that share a name, which is no name then
            [{"by": "domain", "task": ["sentiment", "mlm"]}, {"by": "domain", "task": ["rating", "mlm"]}],
            [
                ("sentiment@film + mlm@film", 2),
                ("sentiment@shop", 1),
                ("rating@film + mlm@film", 2),
            ],
        ),
    ],
)
def test_sources_in_the_order_of_the_spec_each_once(tasks, selection, expected):
    given = selection if isinstance(selection, list) else [selection]
    items = [Selector(**item) if isinstance(item, dict) else item for item in given]
    assert [(source.name, len(source.tasks)) for source in expand_sources(items, tasks)] == expected


def test_all_is_every_task_by_itself(tasks):
    assert [source.name for source in expand_sources("all", tasks)] == [task.identity for task in tasks]
    assert expand_targets("all", tasks) == tasks


def test_targets_by_tag(tasks):
    found = expand_targets(Selector(language=["zh", "en"], task="sentiment"), tasks)
    assert [task.identity for task in found] == ["sentiment@film", "sentiment@shop"]


def test_the_targets_own_head_is_preferred_and_a_choice_of_several_is_none(specs):
    content = specs.content("films", "shops")
    for stream in content["streams"]:
        del stream["tasks"][0]["head"]["shared_as"]
    run = specs.resolve(content)
    film, shop, mlm = (run.tasks[name] for name in ("sentiment@film", "sentiment@shop", "mlm@film"))
    assert head_for(Source("s", ((film,),)), shop) == "sentiment@film"
    assert head_for(Source("s", ((film, shop),)), shop) == "sentiment@shop"
    assert head_for(Source("s", ((mlm,),)), shop) is None
    content["streams"].append(content["streams"][1] | {"name": "third", "domain": "third"})
    third = specs.resolve(content).tasks["sentiment@third"]
    assert head_for(Source("s", ((film, shop),)), third) is None
