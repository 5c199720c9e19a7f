"""Specs as people mistype them: each mistake at its place, in its file, with what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sslm_platform.errors import SpecError
from sslm_platform.spec.load import dump_spec, load_run_spec

ROOT = Path(__file__).parents[2]

RUN = """
name: run
encoder: {path: somewhere}
schedule: {max_steps: 3}
streams: &streams
  - &reviews
    name: reviews
    domain: shop
    data: {source: files, path: reviews.jsonl, format: {name: jsonl}}
    split: {by: hash}
    tasks:
      - name: mood
        fields: {text: text, label: label}
        objective: {name: cross_entropy}
        head: {name: sequence_classifier}
        metrics: [accuracy]
"""


@pytest.fixture
def problems(tmp_path):
    """Return a function from a spec's text and overrides to the messages, with the folder left out."""

    def problems(text, *overrides):
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SpecError) as caught:
            load_run_spec(path, overrides)
        return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return problems


TASK = "streams[0].tasks[0]"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: run", "name: run\nsede: 1", "sede: unknown key; did you mean seed?"),
        ("max_steps: 3", "max_step: 3", "schedule.max_step: unknown key; did you mean max_steps?"),
        ("{max_steps: 3}", "", "schedule: should be a mapping; got None"),
        ("{max_steps: 3}", "{}", "schedule: give exactly one of max_steps, epochs"),
        ("max_steps: 3", "max_steps: some", "schedule.max_steps: should be a valid integer, unable to parse"),
        ("name: run", "name: a b", "name: string should match pattern"),
        ("path: somewhere", "path: a, config: {}", "encoder: give exactly one of path, config"),
        (
            "hash",
            "hsh",
            "streams[0].split.by: 'hsh' is not one of 'hash', 'given' or 'column'; did you mean hash?",
        ),
        ("hash", "hash, train: 0.5", "streams[0].split: train, dev and test must sum to 1"),
        ("hash", "hash, values: {train: [a]}", "streams[0].split: values are those of by: column"),
        (
            "hash",
            "column, column: part, values: {train: [a], dev: [a]}",
            "streams[0].split: values: 'a' stands under two splits",
        ),
        ("hash", "given, group: id", "streams[0].split: group goes with by: hash or dev_from_train"),
        ("source: files", "source: fles", "streams[0].data: source 'fles' is unknown; did you mean files?"),
        ("source: files, ", "", "streams[0].data: needs the key 'source'"),
        ("name: jsonl", "name: jsnl", "streams[0].data.format: name 'jsnl' is unknown; did you mean jsonl?"),
        ("jsonl}", "jsonl, encodin: x}", "streams[0].data.format.encodin: unknown key; did you mean"),
        (
            "path: reviews.jsonl",
            "path: 3",
            "streams[0].data.path: should be text, a list or a mapping; got 3",
        ),
        (
            "path: reviews.jsonl",
            "path: {trian: x}",
            "streams[0].data.path.trian: 'trian' is not one of 'train', 'dev' or 'test'; did you mean train?",
        ),
        ("label: label", "label: [x]", f"{TASK}.fields.label: should be text or a mapping; got ['x']"),
        ("label: label", "label: {column: x, bin: {}}", f"{TASK}.fields.label.bin: unknown key; did you"),
        (
            "label: label",
            "label: {column: x, bins: {a: [1, x]}}",
            f"{TASK}.fields.label.bins.a[1]: should be a valid number, unable to parse",
        ),
        ("[accuracy]", "accuracy", f"{TASK}.metrics: should be a list; got 'accuracy'"),
        ("[accuracy]", "[{name: f, opts: {}}]", f"{TASK}.metrics[0].opts: unknown key; did you mean"),
    ],
)
def test_one_mistake_gives_one_message_at_its_place(problems, old, new, message):
    assert old in RUN
    (found,) = problems(RUN.replace(old, new, 1))
    assert found.startswith(f"run.yaml: {message}")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("sources: alll", "transfer[0].sources: 'alll' is not one of 'all' or 'joint'; did you mean all?"),
        ("sources: {task: 3}", "transfer[0].sources.task: should be text or a list; got 3"),
        ("sources: 3", "transfer[0].sources: should be a mapping, 'all' or 'joint' or a list; got 3"),
        ("sources: all, max_steps: 1, epochs: 1", "transfer[0]: give max_steps or epochs, not both"),
        (
            "sources: all, finetune_epochs: 1",
            "transfer[0]: finetune_max_steps and finetune_epochs need finetune, or few_shot by: finetune",
        ),
        ("sources: []", "transfer[0]: sources are needed"),
    ],
)
def test_transfer_blocks_take_selectors_words_or_lists_of_them(problems, block, message):
    found = problems(RUN + f"transfer: [{{source_stage: full, target_stage: probe, {block}}}]\n")
    assert len(found) == 1
    assert found[0].startswith(f"run.yaml: {message}"), found


def test_a_pair_of_stages_that_is_no_protocol_says_what_is_one(problems):
    (found,) = problems(RUN + "transfer: [{source_stage: none, target_stage: zero_shot}]\n")
    assert "none/zero_shot is no protocol" in found
    assert "use probe, finetune or few_shot" in found


def test_every_mistake_of_all_files_comes_at_once_each_in_its_own_file(problems, tmp_path):
    streams = yaml.safe_load(RUN)["streams"]
    streams[0]["tasks"][0]["head"]["nam"] = "x"
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"streams": [streams[0] | {"name": "b"}]}))
    text = RUN.replace("max_steps: 3", "max_steps: -1").replace("domain: shop", "domain: [shop]", 1)
    found = problems(text + "include: [more.yaml]\n")
    assert sorted(found) == [
        "more.yaml: streams[0].tasks[0].head.nam: unknown key; did you mean name?",
        "run.yaml: schedule.max_steps: should be greater than or equal to 0; got -1",
        "run.yaml: streams[0].domain: should be text; got ['shop']",
    ]


def test_what_an_include_may_not_be(problems, tmp_path):
    (tmp_path / "more.yaml").write_text("streams: 3\nseed: 1\n")
    assert problems(RUN + "include: [more.yaml, none.yaml]\n") == [
        "more.yaml: seed: an included file holds only `streams`",
        "more.yaml: streams: must be a list",
        "run.yaml: include[1]: no such file: none.yaml",
    ]
    assert problems(RUN + "include: more.yaml\n") == ["run.yaml: include: must be a list of file names"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RUN + "name: again\n", "run.yaml line 17, column 1: key 'name' is given twice"),
        (RUN + "seed: [1\n", "run.yaml line 18, column 1: expected ',' or ']'"),
        ("a:\n\tb: 1\n", "run.yaml line 2, column 1: found character '\\t'"),
        ("- a\n", "run.yaml: a spec is a mapping of keys to values"),
        ("", "run.yaml: a spec is a mapping of keys to values"),
        ("a: *nothing\n", "run.yaml line 1, column 4: found undefined alias"),
        ("a: !!python/object:os.system {}\n", "run.yaml line 1, column 4: could not determine a constructor"),
    ],
)
def test_yaml_mistakes_name_line_and_column(problems, text, message):
    (found,) = problems(text)
    assert found.startswith(message)


def test_a_missing_file_suggests_a_near_one(tmp_path):
    (tmp_path / "quickstart.yaml").write_text("")
    with pytest.raises(SpecError, match=r"no such spec file; did you mean quickstart\.yaml\?"):
        load_run_spec(tmp_path / "quickstrat.yaml")


def test_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "run.yaml").write_bytes("name: Glück".encode("latin-1"))
    with pytest.raises(SpecError, match="not UTF-8"):
        load_run_spec(tmp_path / "run.yaml")


def test_merge_keys_share_what_streams_have_in_common(tmp_path):
    (tmp_path / "run.yaml").write_text(RUN + "  - {<<: *reviews, name: news, domain: press}\n")
    first, second = load_run_spec(tmp_path / "run.yaml").spec.streams
    assert (second.name, second.domain, second.tasks) == ("news", "press", first.tasks)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: expected key.path=value"),
        ("=1", "--set =1: expected key.path=value"),
        ("seed=[1", "--set seed=[1: the value is not valid YAML"),
        ("seed=-1", "--set seed: should be greater than or equal to 0; got -1"),
        ("schedul.max_steps=1", "--set schedul: unknown key; did you mean schedule?"),
        ("optimizer.betas=[1, 2]", "--set optimizer.betas[1]: should be less than or equal to 1; got 2"),
        ("streams.review.seed=1", "--set streams.review.seed=1: no item 'review'; did you mean reviews?"),
        ("streams.reviews.tasks.mood.metrics.0.0=x", "'accuracy' has no item '0'"),
        ("streams.7.domain=x", "--set streams.7.domain=x: no item '7'; known: reviews"),
        ("streams=3", "--set streams=3: cannot be replaced"),
        ("include=[x.yaml]", "--set include=[x.yaml]: cannot be replaced"),
        ("streams.reviews.domain=[a]", "--set streams[0].domain: should be text; got ['a']"),
    ],
)
def test_an_override_is_blamed_for_its_own_mistakes(problems, override, message):
    (found,) = problems(RUN, override)
    assert message in found


def test_overrides_reach_every_key_in_order(tmp_path):
    (tmp_path / "run.yaml").write_text(RUN)
    overrides = [
        "seed=4",
        "seed=5",
        "schedule.sampler.options.temperature=2.5",
        "schedule.sampler.name=temperature",
        "streams.reviews.tasks.mood.head.shared_as=mood",
        "streams.0.tasks.0.metrics.0=macro_f1",
        "limit.train=9",
    ]
    spec = load_run_spec(tmp_path / "run.yaml", overrides).spec
    assert spec.seed == 5
    assert spec.schedule.sampler.model_dump() == {"name": "temperature", "options": {"temperature": 2.5}}
    assert spec.streams[0].tasks[0].head.shared_as == "mood"
    assert spec.streams[0].tasks[0].metrics == ["macro_f1"]
    assert spec.streams[0].limit.train == 9


def test_the_smaller_limit_of_run_and_stream_holds(tmp_path):
    text = RUN.replace("split:", "limit: {train: 5, dev: 50}\n    split:")
    (tmp_path / "run.yaml").write_text(text + "limit: {train: 10, dev: 20, test: 30}\n")
    limit = load_run_spec(tmp_path / "run.yaml").spec.streams[0].limit
    assert (limit.train, limit.dev, limit.test) == (5, 20, 30)


def test_relative_files_belong_to_the_file_that_names_them(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "encoder").mkdir()
    streams = yaml.safe_load(RUN)["streams"]
    (tmp_path / "parts" / "more.yaml").write_text(yaml.safe_dump({"streams": [streams[0] | {"name": "b"}]}))
    text = RUN.replace("somewhere", "encoder").replace("path: reviews", "path: ../reviews")
    (tmp_path / "run.yaml").write_text(text + "include: [parts/more.yaml]\n")
    spec = load_run_spec(tmp_path / "run.yaml").spec
    assert spec.encoder.path == str(tmp_path / "encoder")
    own, included = (Path(stream.data.path) for stream in spec.streams)
    assert own.resolve() == tmp_path.parent / "reviews.jsonl"
    assert included == tmp_path / "parts" / "reviews.jsonl"


def test_environment_variables_in_paths_are_filled_in(tmp_path, monkeypatch):
    text = RUN.replace("path: reviews.jsonl", 'path: "${REVIEWS}/${YEAR}/reviews.jsonl"')
    (tmp_path / "run.yaml").write_text(text.replace("somewhere", '"${MODELS}/bert"'))
    monkeypatch.setenv("REVIEWS", "/data/reviews")
    monkeypatch.setenv("YEAR", "2024")
    monkeypatch.setenv("MODELS", "hub")
    spec = load_run_spec(tmp_path / "run.yaml").spec
    assert spec.streams[0].data.path == "/data/reviews/2024/reviews.jsonl"
    assert spec.encoder.path == "hub/bert"
    monkeypatch.delenv("YEAR")
    with pytest.raises(
        SpecError, match=r"streams\[0\]\.data\.path: .*the environment variable YEAR is not set"
    ):
        load_run_spec(tmp_path / "run.yaml")


def test_a_hub_name_stays_a_name(tmp_path):
    (tmp_path / "run.yaml").write_text(RUN.replace("somewhere", "google/bert"))
    assert load_run_spec(tmp_path / "run.yaml").spec.encoder.path == "google/bert"


SHIPPED = sorted(path for path in (ROOT / "task_specs").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_spec_loads_and_survives_being_dumped(path, tmp_path):
    spec = load_run_spec(path).spec
    (tmp_path / "dumped.yaml").write_text(dump_spec(spec), encoding="utf-8")
    assert load_run_spec(tmp_path / "dumped.yaml").spec == spec


def test_dumping_keeps_what_differs_from_the_default_and_what_looks_like_another_type(specs):
    content = specs.content(
        name="1e3",
        optimizer={"lr": 1e-7, "clip": None, "betas": [0.5, 0.75]},
        transfer=[
            {"source_stage": "full", "target_stage": "probe", "sources": ["joint", {"by": "task"}, "all"]},
            {"source_stage": "none", "target_stage": "probe", "targets": {"language": ["en", "no"]}},
        ],
        limit={"train": 50},
    )
    content["streams"][0]["tags"] = {"language": "no", "genre": "on"}
    content["streams"][0]["tasks"][0]["fields"]["label"] = {"column": "rating", "bins": {"yes": [0.5, 4]}}
    spec = load_run_spec(specs.write(content)).spec
    specs.write({}, "dumped.yaml").write_text(dump_spec(spec), encoding="utf-8")
    again = load_run_spec(specs.folder / "dumped.yaml").spec
    assert again == spec
    assert again.optimizer.clip is None
    assert again.transfer[0].sources[1].by == "task"
    assert again.transfer[1].targets.criteria == {"language": ("en", "no")}


def test_an_override_of_one_stream_leaves_those_alone_that_share_its_anchor(tmp_path):
    shared = (
        RUN
        + """
  - <<: *reviews
    name: news
    domain: paper
"""
    )
    (tmp_path / "run.yaml").write_text(shared)
    overrides = ["streams.reviews.tasks.mood.metrics=[macro_f1]", "streams.news.split.group=id"]
    reviews, news = load_run_spec(tmp_path / "run.yaml", overrides).spec.streams
    assert (reviews.tasks[0].metrics, news.tasks[0].metrics) == (["macro_f1"], ["accuracy"])
    assert (reviews.split.group, news.split.group) == (None, "id")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RUN.replace("name: run", "name: 2024-13-01"), "run.yaml: not valid YAML: month must be in 1..12"),
        (
            RUN.replace("streams: &streams", "streams: &streams\n  - *streams"),
            "run.yaml: an alias refers to what it is in",
        ),
    ],
)
def test_yaml_that_cannot_be_a_spec_is_said(problems, text, message):
    assert problems(text) == [message]


def test_an_included_file_with_keys_of_several_kinds_is_said(tmp_path, problems):
    (tmp_path / "more.yaml").write_text("{1: a, seed: 2, streams: []}")
    assert problems(f"{RUN}include: [more.yaml]\n") == [
        "more.yaml: 1: an included file holds only `streams`",
        "more.yaml: seed: an included file holds only `streams`",
    ]
