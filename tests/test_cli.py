"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sslm_platform import plugins
from sslm_platform.errors import SpecError
from sslm_platform.plugins import Failure, Host, host
from sslm_platform.types import Provenance

ROOT = Path(__file__).parents[1]


def test_a_mistake_is_one_line_without_a_traceback(cli, specs):
    path = specs.write(specs.content("films", balancer={"name": "equl"}))
    status, out, err = cli("check", path)
    assert (status, out) == (2, "")
    assert err == f"error: {path}: balancer.name: unknown balancer 'equl'; did you mean equal?\n"


def test_several_mistakes_are_counted_and_listed(cli, specs):
    path = specs.write(specs.content("films", balancer={"name": "equl"}))
    status, _, err = cli("check", path, "--set", "schedule.sampler.name=unifrm")
    assert status == 2
    assert err.splitlines() == [
        "2 errors:",
        "  --set schedule.sampler.name: unknown sampler 'unifrm'; did you mean uniform?",
        f"  {path}: balancer.name: unknown balancer 'equl'; did you mean equal?",
    ]


def test_debug_shows_where_an_error_came_from(cli, specs):
    path = specs.write(specs.content("films", balancer={"name": "equl"}))
    with pytest.raises(SpecError):
        cli("--debug", "check", path)
    command = [sys.executable, "-m", "sslm_platform", "--debug", "check", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "did you mean equal?" in done.stderr


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["check", "none.yaml"], "none.yaml: no such spec file"),
        (["train", "none.yaml"], "none.yaml: no such spec file"),
        (["run", "none.yaml"], "none.yaml: no such spec file"),
        (["transfer", "plan", "none.yaml"], "none.yaml: no such spec file"),
        (["transfer", "run", "none.yaml"], "none.yaml: no such spec file"),
        (["eval", "nowhere"], "nowhere: is not a run's folder"),
        (["predict", "nowhere", "--task", "a@b", "text"], "nowhere: is not a run's folder"),
        (["report", "nowhere"], "nowhere"),
        (["eval", "nowhere", "--split", "tets"], "--split tets: expected train, dev or test"),
        (["predict", "nowhere", "--task", "a@b", "--file", "none.txt"], "--file none.txt: no such file"),
        (["predict", "nowhere", "--task", "a@b", "text", "--file", "x"], "give texts or --file, not both"),
    ],
)  # fmt: skip
def test_bad_arguments_exit_with_2_and_say_why(cli, argv, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = cli(*argv)
    assert status == 2
    assert err.startswith("error: ")
    assert message in err
    assert list(tmp_path.iterdir()) == []  # nothing was begun


@pytest.mark.parametrize("argv", [["chekc", "x"], ["train"], ["train", "x", "--nproc", "0"], ["eval"]])
def test_usage_errors_exit_with_2(cli, argv):
    status, _, err = cli(*argv)
    assert status == 2
    assert "Usage" in err


def test_checking_the_data_finds_what_is_in_them_and_warns(cli, specs):
    content = specs.content("films", encoder=specs.content()["encoder"])
    content["streams"][0]["tasks"][1]["fields"]["value"] = "label"
    status, _, err = cli("check", specs.write(content), "--cache", specs.texts / "cache")
    assert status == 0, err
    status, _, err = cli("check", "--data", specs.write(content), "--cache", specs.texts / "cache")
    assert status == 2
    assert "streams[0].tasks[1].fields.value: " in err
    assert "'positive'" in err or "'negative'" in err


def test_checking_the_data_plans_the_cells_too(cli, specs):
    block = {"source_stage": "none", "target_stage": "probe", "targets": {"task": "mlm"}}
    path = specs.write(specs.content("films", transfer=[block]))
    assert cli("check", path)[0] == 0
    status, _, err = cli("check", "--data", path, "--cache", specs.texts / "cache")
    assert status == 2
    assert "transfer[0].targets: mlm@film: a head tied to the embedding has no probe" in err


def test_eval_as_json_is_what_the_run_recorded(cli, finished):
    status, out, _ = cli("eval", finished.path, "--json", "--cache", finished.cache)
    assert status == 0
    recorded = json.loads((finished.path / "scores.json").read_text())["scores"]
    assert all(len(score.pop("resamples")) == 1000 for score in recorded)  # for comparisons, not for eyes
    assert json.loads(out) == recorded
    status, out, _ = cli("eval", finished.path, "--split", "dev", "--cache", finished.cache)
    assert status == 0
    assert "sentiment@film" in out
    assert "dev" in out.splitlines()[1]


TEXTS = ["the film was great", "the music\u2028was awful"]


def test_predict_reads_arguments_files_and_standard_input_alike(cli, finished, tmp_path):
    task = ("--task", "sentiment@film")
    file = tmp_path / "texts.txt"
    file.write_text("\n".join([TEXTS[0], "", TEXTS[1] + "\r", ""]), encoding="utf-8")
    answers = [
        cli("predict", finished.path, *task, *TEXTS),
        cli("predict", finished.path, *task, "--file", file),
        cli("predict", finished.path, *task, stdin="\n".join(TEXTS) + "\n"),
    ]
    assert len(set(answers)) == 1
    status, out, _ = answers[0]
    assert status == 0
    parsed = [json.loads(line) for line in out.strip().split("\n")]
    assert [answer["text"] for answer in parsed] == TEXTS
    assert [answer["label"] for answer in parsed] == ["positive", "negative"]


def test_predict_reads_json_lines_and_counts_their_lines(cli, finished, tmp_path):
    task = ("--task", "fits@quiz", "--jsonl")
    good = json.dumps({"text": "how was the film?", "text_pair": "the film was dull"})
    status, out, _ = cli("predict", finished.path, *task, stdin=good + "\n\n" + good)
    assert status == 0
    assert len(out.splitlines()) == 2
    status, _, err = cli("predict", finished.path, *task, stdin=good + "\n\n{oops\n")
    assert status == 2
    assert err.startswith("error: line 3: not JSON")
    status, _, err = cli("predict", finished.path, *task, stdin='["a"]')
    assert (status, err) == (2, "error: line 1: expected a JSON object\n")
    (tmp_path / "pairs.jsonl").write_text(good, encoding="utf-8")
    answered = cli("predict", finished.path, *task[:2], "--file", tmp_path / "pairs.jsonl")
    assert answered == cli("predict", finished.path, *task, stdin=good)
    assert answered[0] == 0


def test_predict_refuses_an_empty_argument(cli, finished):
    status, out, err = cli("predict", finished.path, "--task", "sentiment@film", "the film was great", "")
    assert (status, out, err) == (2, "", "error: input 2: text is missing or empty\n")


def test_predict_refuses_a_file_in_another_encoding(cli, finished, tmp_path):
    (tmp_path / "latin.txt").write_bytes("Mädchen".encode("latin-1"))
    status, _, err = cli(
        "predict", finished.path, "--task", "sentiment@film", "--file", tmp_path / "latin.txt"
    )
    assert status == 2
    assert "latin.txt: not UTF-8 text" in err


def test_the_report_is_rendered_again_from_the_records(cli, finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "report")
    status, out, err = cli("report", tmp_path / "run")
    assert status == 0, err
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert out.rstrip().endswith(str(tmp_path / "run" / "report" / "index.html"))


def test_the_plan_counts_cells_and_what_is_done(cli, finished, tmp_path):
    argv = ("transfer", "plan", finished.spec, "--cache", finished.cache)
    status, out, _ = cli(*argv, "--out", finished.path)
    num_cells = len(list((finished.path / "transfer" / "cells").iterdir()))
    assert status == 0
    assert f"{num_cells} cells, {num_cells} done; 5 source trainings" in out
    assert f"{num_cells} cells, 0 done" in cli(*argv, "--out", tmp_path / "new")[1]
    assert not (tmp_path / "new").exists()


def test_plugins_as_json_say_where_each_definition_is_from(cli):
    status, out, _ = cli("plugins", "--json", "--strict")
    assert status == 0
    facts = json.loads(out)
    (mlm,) = [d for d in facts["definitions"] if (d["kind"], d["name"]) == ("objective", "mlm")]
    assert mlm["distribution"] == "sslm-objectives"
    assert "mask_prob" in mlm["options"]
    assert facts["failures"] == []
    status, out, _ = cli("plugins")
    assert status == 0
    assert "sequence_classifier" in out


def test_one_definition_is_shown_with_its_options(cli):
    status, out, _ = cli("plugins", "bounded_regressor")
    assert status == 0
    assert out.startswith("head bounded_regressor (sslm-example 0.1.0): One number for a text")
    assert re.search(r"low +required +Lower end of the scale\.", out)
    status, out, err = cli("plugins", "bounded_regresor")
    assert (status, out) == (2, "")
    assert err == "error: nothing installed is named 'bounded_regresor'; did you mean bounded_regressor?\n"


def test_a_plugin_that_failed_is_listed_and_strict_is_an_error(cli, monkeypatch):
    broken = Failure(Provenance("adapters", "sslm-adapters", "2.1"), "ImportError: no peft", "Traceback ...")
    found = Host(host().manager, host().registry, host().loaded, [broken])
    monkeypatch.setattr(plugins, "host", lambda: found)
    status, out, _ = cli("plugins")
    assert status == 0
    assert "failed: adapters (sslm-adapters 2.1): ImportError: no peft" in out
    status, out, err = cli("plugins", "--json", "--strict")
    assert status == 2
    assert json.loads(out)["failures"][0]["traceback"] == "Traceback ..."
    assert "plugin 'adapters' failed to load: ImportError: no peft" in err


def test_the_schema_accepts_the_shipped_specs_and_refuses_a_typo(cli, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    status, out, _ = cli("schema")
    assert status == 0
    assert cli("schema", "--out", tmp_path / "schema.json")[0] == 0
    assert json.loads((tmp_path / "schema.json").read_text()) == json.loads(out)
    validator = jsonschema.Draft202012Validator(json.loads(out))
    for path in sorted((ROOT / "task_specs").glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        assert not list(validator.iter_errors(content)), path
        assert list(validator.iter_errors(content | {"sede": 1}))


def test_an_interrupted_command_says_how_to_go_on(cli, specs, monkeypatch):
    from sslm_platform import runs

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "load_run_spec", interrupt)
    status, _, err = cli("train", specs.write(specs.content("films")))
    assert status == 130
    assert "interrupted; `sslm train " in err


def test_the_rank_that_deepspeeds_launcher_adds_is_taken(cli):
    """It stands before the command: ``python -m sslm_platform --local_rank=1 train ...``."""
    assert cli("--local_rank=1", "schema")[0] == 0
