"""Names to definitions: what does not exist, does not fit, or is asked for twice."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from sslm_platform.errors import SpecError
from sslm_platform.plugins import Failure, Host, host
from sslm_platform.runs import resolve_spec
from sslm_platform.spec.load import load_run_spec
from sslm_platform.spec.resolve import resolve
from sslm_platform.types import Provenance


@pytest.fixture
def problems(specs):
    """Return a function from a spec's content to its messages, with the file's path left out."""

    def problems(content, *overrides):
        with pytest.raises(SpecError) as caught:
            specs.resolve(content, *overrides)
        return [str(p).replace(f"{specs.folder / 'spec.yaml'}: ", "") for p in caught.value.problems]

    return problems


def task_of(content, stream=0, task=0):
    return content["streams"][stream]["tasks"][task]


T = "streams[0].tasks[0]"


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("objective", {"name": "cros_entropy"}, f"{T}.objective.name: unknown objective 'cros_entropy'; did"),
        ("head", {"name": "x"}, f"{T}.head.name: unknown head 'x'; known: "),
        ("metrics", ["acuracy"], f"{T}.metrics[0].name: unknown metric 'acuracy'; did you mean accuracy?"),
        ("metrics", ["accuracy", "accuracy"], f"{T}.metrics[1]: accuracy is named twice"),
        ("metrics", ["pearson"], f"{T}.metrics[0]: pearson does not read sequence_logits, which head"),
        ("primary_metric", "macro_f", f"{T}.primary_metric: macro_f is not among the metrics; did you mean"),
        (
            "objective",
            {"name": "cross_entropy", "options": {"label_smooting": 0.1}},
            f"{T}.objective.options.label_smooting: unknown option; did you mean label_smoothing?",
        ),
        (
            "objective",
            {"name": "cross_entropy", "options": {"label_smoothing": 7}},
            f"{T}.objective.options.label_smoothing: should be less than 1; got 7",
        ),
        (
            "head",
            {"name": "sequence_classifier", "options": {"pooling": "man"}},
            f"{T}.head.options.pooling: 'man' is not one of 'mean', 'cls', 'max' or 'markers'; did you",
        ),
        ("objective", {"name": "mse"}, f"{T}.head.name: sequence_classifier emits sequence_logits, but"),
        ("fields", {"text": "text"}, f"{T}.fields: objective cross_entropy needs the field label (label)"),
        (
            "fields",
            {"text": "text", "label": "label", "lable": "x"},
            f"{T}.fields.lable: unknown field; did you mean label?",
        ),
    ],
)
def test_one_misfit_gives_one_message_with_its_key_path(problems, specs, part, value, message):
    content = specs.content("shops")
    task_of(content)[part] = value
    (found,) = problems(content)
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": {"a": [1, 2], "b": [2, 3]}}, f"{T}.fields.label.bins: a and b overlap at 2.0"),
        ({"bins": {"a": [2, 1]}}, f"{T}.fields.label.bins.a: 2.0 > 1.0: an interval is [low, high]"),
        ({"bins": {"a": [1, 2]}, "map": {"x": "a"}}, f"{T}.fields.label: give bins or map, not both"),
        ({"scheme": "io"}, f"{T}.fields.label.scheme: does not apply to a field of kind label"),
    ],
)
def test_options_of_a_field(problems, specs, options, message):
    content = specs.content("shops")
    task_of(content)["fields"]["label"] = {"column": "label", **options}
    assert problems(content) == [message]


def test_bins_may_leave_gaps(specs):
    content = specs.content("shops")
    task_of(content)["fields"]["label"] = {"column": "x", "bins": {"b": [0.5, 4], "a": [-4, -0.5]}}
    assert specs.resolve(content).tasks


def test_names_that_are_taken(problems, specs):
    content = specs.content("films", "shops")
    content["streams"][1] |= {"domain": "film", "name": "films"}
    found = problems(content)
    assert len(found) == 2
    assert found[0].startswith("streams[1].tasks[0]: sentiment@film is also the task at ")
    assert found[1].startswith("streams[1].name: films is also the name of ")


def test_a_shared_head_is_one_head(problems, specs):
    content = specs.content("films", "shops")
    task_of(content, 1)["head"]["options"] = {"pooling": "cls"}
    (found,) = problems(content)
    assert found.startswith("streams[1].tasks[0].head: shares the head 'sentiment' with ")


def test_a_shared_head_is_sharded_for_all_its_tasks_or_for_none(problems, specs):
    content = specs.content("films", "shops")
    task_of(content, 1)["head"]["sharded"] = True
    (found,) = problems(content)
    assert found.startswith("streams[1].tasks[0].head.sharded: differs from that of ")
    task_of(content, 0)["head"]["sharded"] = True
    assert specs.resolve(content).tasks


def test_a_sharded_head_is_called_once_for_each_encoding(problems, specs):
    content = specs.content("films")
    first = task_of(content, 0)
    first["head"] |= {"shared_as": "both", "sharded": True}
    content["streams"][0]["tasks"].append(first | {"name": "mood"})
    (found,) = problems(content)
    assert ".head.sharded: " in found
    assert "reads the same input with this head" in found
    first["head"]["sharded"] = False
    assert specs.resolve(content).tasks


def test_a_tied_head_cannot_be_sharded(problems, specs):
    content = specs.content("films")
    task_of(content, 0, 2)["head"]["sharded"] = True
    (found,) = problems(content)
    assert found.startswith("streams[0].tasks[2].head.sharded: lm projects inside the encoder's module")


def test_a_tag_may_not_be_called_like_an_axis(problems, specs):
    content = specs.content("films")
    content["streams"][0]["tags"] = {"task": "x"}
    assert problems(content) == ["streams[0].tags.task: is a word of its own; choose another tag"]


@pytest.mark.parametrize(
    ("select_by", "message"),
    [
        ("sentiment@film/acuracy", "sentiment@film has no metric 'acuracy'; did you mean accuracy?"),
        (
            "sentiment@fil/accuracy",
            "is neither mean_gain_over_majority, last nor TASK/METRIC; did you mean",
        ),
        ("mean_gain", "mean_gain is neither mean_gain_over_majority, last nor TASK/METRIC"),
    ],
)
def test_what_selection_goes_by(problems, specs, select_by, message):
    (found,) = problems(specs.content("films", evaluation={"select_by": select_by}))
    assert found.startswith("evaluation.select_by: ")
    assert message in found


@pytest.mark.parametrize(
    ("block", "messages"),
    [
        ({"sources": {"taks": "mlm"}}, ["transfer[0].sources.taks: unknown axis; did you mean task?"]),
        ({"sources": {"task": "ml"}}, ["transfer[0].sources.task: no task has task 'ml'; did you mean mlm?"]),
        ({"sources": {"by": "tsk"}}, ["transfer[0].sources.by: unknown axis 'tsk'; did you mean task?"]),
        ({"targets": {"task": "mlm", "domain": "shop"}}, ["transfer[0].targets: matches no task"]),
        (
            {"sources": ["joint", {"language": ["en", "de"]}], "targets": {"domain": "shp"}},
            [
                "transfer[0].sources[1].language: no task has language 'de'; known: en, zh",
                "transfer[0].targets.domain: no task has domain 'shp'; did you mean shop?",
            ],
        ),
    ],
)
def test_selectors_name_what_there_is(problems, specs, block, messages):
    block = {"source_stage": "full", "target_stage": "probe", "sources": "all"} | block
    assert problems(specs.content("films", "shops", transfer=[block])) == messages


def test_mistakes_of_all_kinds_come_at_once(problems, specs):
    content = specs.content("films", "shops", balancer={"name": "equl"})
    content["schedule"]["sampler"] = {"name": "temperature", "options": {"temperature": 0}}
    task_of(content, 1)["metrics"] = ["spearman"]
    found = problems(content)
    assert [text.split(":")[0] for text in found] == [
        "streams[1].tasks[0].metrics[0]",
        "schedule.sampler.options.temperature",
        "balancer.name",
    ]


def test_an_override_is_blamed_and_the_file_is_not(problems, specs):
    overrides = ("schedule.sampler.name=unifrm", "streams.films.tasks.mlm.objective.options.mask_porb=0.1")
    assert problems(specs.content("films"), *overrides) == [
        "--set streams[0].tasks[2].objective.options.mask_porb: unknown option; did you mean mask_prob?",
        "--set schedule.sampler.name: unknown sampler 'unifrm'; did you mean uniform?",
    ]


def test_a_run_needs_a_stream(problems, specs):
    content = specs.content()
    content["streams"] = []
    assert problems(content) == ["streams: a run needs at least one stream"]


def test_a_plugin_that_failed_is_named_where_its_definition_is_missing(specs):
    path = specs.write(specs.content("shops", balancer={"name": "gradmorph"}))
    broken = Provenance("balancers", "sslm-balancers", "2.1")
    found = Host(host().manager, host().registry, host().loaded, [Failure(broken, "ImportError: no torchjd")])
    with pytest.raises(SpecError) as caught:
        resolve(load_run_spec(path), found)
    message = str(caught.value)
    assert "unknown balancer 'gradmorph'" in message
    assert "plugin 'balancers' (sslm-balancers 2.1) failed to load: ImportError: no torchjd" in message


def test_tasks_that_read_the_same_text_share_a_feed_and_masking_has_its_own(specs):
    run = specs.resolve(specs.content("films", "pairs"))
    assert {feed.name: [t.identity for t in feed.tasks] for feed in run.feeds} == {
        "films": ["sentiment@film", "rating@film"],
        "films/mlm": ["mlm@film"],
        "pairs": ["fits@quiz"],
    }


def test_labels_of_the_data_and_of_an_objective_are_not_one_heads(specs, problems):
    content = specs.content("films")
    order = {
        "name": "order",
        "fields": {"text": "text"},
        "objective": {"name": "sop"},
        "metrics": ["accuracy"],
    }
    content["streams"][0]["tasks"].append(
        order | {"head": {"name": "sequence_classifier", "shared_as": "sentiment"}}
    )
    (problem,) = problems(content)
    assert "streams[0].tasks[3].head.shared_as: shares the head 'sentiment'" in problem
    assert "whose labels are others (sop, cross_entropy)" in problem


def test_tasks_of_different_attention_never_share_a_feed(specs):
    content = specs.content("pairs")
    columns = {"text": "question", "target_text": "answer"}
    kinds = {"clm": {"text": "question"}, "clm2": {"text": "question"}, "reply": columns, "reply2": columns}
    content["streams"][0]["tasks"] += [
        {
            "name": name,
            "fields": fields,
            "objective": {"name": "clm" if name.startswith("clm") else "prefix_lm"},
            "head": {"name": "lm"},
            "metrics": ["perplexity"],
        }
        for name, fields in kinds.items()
    ]
    assert [[task.spec.name for task in feed.tasks] for feed in specs.resolve(content).feeds] == [
        ["fits"],
        ["clm", "clm2"],
        ["reply"],  # each says itself how much of its text is the prefix
        ["reply2"],
    ]


def test_problems_of_engine_and_names_come_together(specs):
    content = specs.content("shops", engine={"name": "deepspeed", "config": {"fp16": {"enabled": True}}})
    content["balancer"] = {"name": "equl"}
    with pytest.raises(SpecError) as caught:
        resolve_spec(load_run_spec(specs.write(content)))
    places = [problem.where.rpartition(": ")[2] for problem in caught.value.problems]
    assert places[0] == "balancer.name"
    assert any(place.startswith("engine") for place in places[1:])


def test_checking_imports_nothing_heavy(specs):
    path = specs.write(specs.content())
    script = f"""
        import sys
        from sslm_platform.cli import main
        sys.argv = ["sslm", "check", {str(path)!r}]
        try:
            main()
        except SystemExit as stop:
            assert not stop.code, stop.code
        heavy = {{"torch", "transformers", "datasets", "deepspeed", "sklearn", "pandas"}} & set(sys.modules)
        assert not heavy, heavy
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ok (4 streams, 6 tasks)" in done.stdout


def test_a_run_may_take_some_of_its_streams_tasks(problems, specs):
    content = specs.content("films", "shops", tasks={"task": "sentiment"})
    assert list(specs.resolve(content).tasks) == ["sentiment@film", "sentiment@shop"]
    content["tasks"] = {"task": "sentiment", "domain": "film", "language": "zh"}
    assert problems(content) == ["tasks: matches no task"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"tsak": "sentiment"}, "tasks.tsak: unknown axis; did you mean task?"),
        ({"task": "sentimet"}, "tasks.task: no task has task 'sentimet'; did you mean sentiment?"),
        ({"languag": "en"}, "tasks.languag: unknown axis; did you mean language?"),
        ({"task": "sentiment", "by": "domain"}, "tasks.by: groups the sources of a transfer block"),
    ],
)
def test_a_misspelt_selector_of_the_runs_tasks_gets_a_suggestion(problems, specs, selector, expected):
    """Alone: what follows from there being no task is no news."""
    blocks = [{"source_stage": "none", "target_stage": "probe", "targets": {"task": "sentiment"}}]
    content = specs.content("films", "shops", tasks=selector, transfer=blocks)
    (found,) = problems(content)
    assert expected in found


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (
            {"name": "static", "options": {"ratios": {"film": 2.0}}},
            "schedule.sampler.options.ratios: 'film' matches nothing; did you mean films?",
        ),
        (
            {"name": "sequential", "options": {"stages": [{"feeds": ["films"]}, {"feeds": ["names@new"]}]}},
            "schedule.sampler.options.stages[1].feeds: 'names@new' matches nothing; did you mean names@news?",
        ),
        (
            {"name": "doremi", "options": {"reference_losses": {"*@film": 1.0}}},
            "schedule.sampler.options.reference_losses: has no loss for names@news",
        ),
        ({"name": "dev_gap"}, "schedule.sampler.name: dev_gap follows dev scores: set evaluation.every"),
        (
            {"name": "sequential", "options": {"stages": [{"feed": ["films"]}]}},
            "schedule.sampler.options.stages[0].feed: unknown key; did you mean feeds?",
        ),
    ],
)
def test_what_a_sampler_names_must_be_there(problems, specs, sampler, message):
    schedule = {"sampler": sampler, "max_steps": 3}
    assert message in "\n".join(problems(specs.content("films", "names", schedule=schedule)))


def test_names_of_feeds_tasks_and_patterns_are_found(specs):
    sampler = {"name": "static", "options": {"ratios": {"films": 1, "names@news": 2, "mlm@*": 3}}}
    assert specs.resolve(specs.content("films", "names", schedule={"sampler": sampler, "max_steps": 3}))


def test_a_balancer_that_compares_tasks_needs_steps_of_several(problems, specs):
    one = specs.content("shops", "names", balancer={"name": "famo"})
    message = "balancer.name: famo compares the tasks of one step, and each step has one: set"
    assert any(message in found for found in problems(one))
    assert specs.resolve(one, "schedule.slots_per_step=2")
    assert specs.resolve(specs.content("films", balancer={"name": "famo"}))  # two tasks share its slots


def test_a_balancers_patterns_match_tasks(problems, specs):
    balancer = {"name": "static", "options": {"weights": {"sentiment@film": 2.0, "nams@*": 0.5}}}
    (found,) = problems(specs.content("films", "names", balancer=balancer))
    assert found.startswith("balancer.options.weights: 'nams@*' matches nothing")


def test_affinities_need_gradients_of_the_whole_encoder(problems, specs):
    content = specs.content(
        "films",
        balancer={"name": "equal", "log_affinity_every": 10},
        engine={"name": "deepspeed", "zero_stage": 1},
    )
    (found,) = problems(content)
    assert found.startswith(
        "balancer.log_affinity_every: needs each task's gradient of the whole encoder, and"
    )
    del content["engine"]
    assert specs.resolve(content).gradients_of == "all"
    content["balancer"]["log_gradients_every"] = 10
    (found,) = problems(content)
    assert found.endswith("set balancer.scope: all")
    content["balancer"]["scope"] = "all"
    assert specs.resolve(content).gradients_of == "all"


def test_gradients_by_task_are_of_the_scope_where_something_asks_for_them(specs):
    for balancer, expected in (
        ({"name": "equal"}, None),
        ({"name": "equal", "scope": "all"}, None),
        ({"name": "gradnorm"}, "last_layer"),
        ({"name": "gradnorm", "scope": "all"}, "all"),
        ({"name": "equal", "log_gradients_every": 5}, "last_layer"),
    ):
        assert specs.resolve(specs.content("films", balancer=balancer)).gradients_of == expected


def test_a_missing_solver_is_said(problems, specs, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ecos" else real(name, *a) or 1
    )
    (found,) = problems(specs.content("films", balancer={"name": "nash_mtl"}))
    assert found == "balancer.name: needs ecos: pip install 'sslm-schedule[torchjd]'"


def test_affinities_need_tasks_that_share_a_step(specs):
    content = specs.content("pairs", "names", balancer={"name": "equal", "log_affinity_every": 5})
    with pytest.raises(SpecError, match=r"balancer\.log_affinity_every: compares the tasks of one step"):
        specs.resolve(content)


def test_estimators_are_those_named_or_all_that_need_no_options(specs, problems):
    assert {b.definition.name for b in specs.resolve(specs.content("films")).estimators} == set(
        host().registry.estimators
    )
    named = ["logme", {"name": "n_leep", "options": {"energy": 0.5}}]
    found = specs.resolve(specs.content("films", prediction={"estimators": named})).estimators
    assert [bound.definition.name for bound in found] == ["logme", "n_leep"]
    assert found[1].options.energy == 0.5
    wrong = ["logme", "lepp", {"name": "n_leep", "options": {"energie": 0.5}}, "logme"]
    unknown, option, twice = problems(specs.content("films", prediction={"estimators": wrong}))
    assert unknown.startswith("prediction.estimators[1].name: unknown estimator 'lepp'; did you mean leep?")
    assert option.startswith("prediction.estimators[2].options.energie: unknown option; did you mean energy?")
    assert twice == "prediction.estimators[3]: logme is named twice"


def test_sources_are_grouped_one_way(specs):
    block = {"source_stage": "full", "target_stage": "probe", "sources": {"by": "task", "together": True}}
    with pytest.raises(SpecError, match="give by or together, not both"):
        specs.resolve(specs.content("films", transfer=[block]))


def in_words(fields, **options):
    """A stream of words with a task that has these fields."""
    return {
        "name": "mood",
        "fields": fields,
        "objective": {"name": "cross_entropy"},
        "head": {"name": "sequence_classifier", "options": options},
        "metrics": ["accuracy"],
    }


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({"label": "l"}, {}, "needs the field text (text) or tokens (tokens)"),
        ({"label": "l", "text": "t", "tokens": "w"}, {}, "give text or tokens, not both"),
        ({"label": "l", "text": "t", "spans": "s"}, {}, "fields.spans: goes with tokens"),
        (
            {"label": "l", "tokens": "w"},
            {"pooling": "markers"},
            "head.options.pooling: markers are around spans, and the task has no field spans",
        ),
    ],
)
def test_inputs_that_do_not_go_together(problems, specs, fields, options, message):
    content = specs.content("names")
    content["streams"][0]["tasks"].append(in_words(fields, **options))
    assert message in "\n".join(problems(content))


def test_tasks_on_the_same_words_are_encoded_once(specs):
    content = specs.content("names")
    content["streams"][0]["tasks"].append(in_words({"tokens": "tokens", "label": "tokens"}))
    assert [feed.tasks[0].spec.name for feed in specs.resolve(content).feeds] == ["names"]
    assert [task.spec.name for task in specs.resolve(content).feeds[0].tasks] == ["names", "mood"]
