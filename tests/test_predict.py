"""Answers of a saved model for texts that it has never seen."""

from __future__ import annotations

import shutil

import pytest

from sslm_platform.errors import RunError, SslmError
from sslm_platform.runs import load_run

FILMS = [
    "the film was great and the plot felt moving, take 900",
    "the music was awful",
    "the cast was clumsy and the ending felt dull, take 901 and so on and on and on and on",
]


@pytest.fixture(scope="module")
def run(finished):
    return load_run(finished.path)


def test_probabilities_are_of_all_labels_and_the_label_is_the_likeliest(run):
    answers = run.predict(FILMS, "sentiment@film")
    assert [answer["label"] for answer in answers] == ["positive", "negative", "negative"]
    for text, answer in zip(FILMS, answers, strict=True):
        shares = answer["probabilities"]
        assert answer["text"] == text
        assert list(shares) == ["negative", "positive"]
        assert sum(shares.values()) == pytest.approx(1, abs=2e-4)
        assert shares[answer["label"]] == max(shares.values())


def test_an_answer_does_not_depend_on_the_other_texts(run):
    together = run.predict(FILMS, "sentiment@film")
    alone = [run.predict([text], "sentiment@film")[0] for text in FILMS]
    for mine, single in zip(together, alone, strict=True):
        assert mine["label"] == single["label"]
        assert mine["probabilities"] == pytest.approx(single["probabilities"], abs=2e-4)


def test_a_shared_head_answers_for_each_of_its_tasks(run):
    (answer,) = run.predict(["这家的菜难吃、服务很脏、7号桌。"], "sentiment@shop")
    assert answer["label"] == "negative"


def test_values(run):
    good, bad = (answer["value"] for answer in run.predict(FILMS[:2], "rating@film"))
    assert good > bad


def test_each_word_gets_a_tag_also_behind_the_encoders_length(run):
    words = ["yesterday", "Grace", "Smith", "came", "to", "Kyoto", "31"]
    (answer,) = run.predict([" ".join(words)], "names@news")
    assert answer["tokens"] == words
    assert answer["tags"] == ["O", "B-PER", "I-PER", "O", "O", "B-LOC", "O"]
    assert all(0 < p <= 1 for p in answer["probability"])
    long = {"tokens": words * 10}
    (answer,) = run.predict([long], "names@news")
    assert len(answer["tags"]) == len(answer["probability"]) == 70
    assert all(0 < p <= 1 for p in answer["probability"])


def test_pairs_need_both_texts(run):
    (answer,) = run.predict([{"text": "how was the film?", "text_pair": "the film was dull"}], "fits@quiz")
    assert set(answer["probabilities"]) == {"yes", "no"}
    with pytest.raises(SslmError, match="input 1: fits@quiz needs the fields text, text_pair"):
        run.predict(["how was the film?"], "fits@quiz")
    with pytest.raises(SslmError, match="input 2: text_pair is missing or empty"):
        run.predict([{"text": "a", "text_pair": "b"}, {"text": "a"}], "fits@quiz")


@pytest.mark.parametrize(
    ("given", "task", "message"),
    [
        ("", "sentiment@film", "input 1: text is missing or empty"),
        ("  ", "sentiment@film", "input 1: text is missing or empty"),
        ({"txt": "a"}, "sentiment@film", "input 1: text is missing or empty"),
        ({"text": 5}, "sentiment@film", "input 1: text should be text; got 5"),
        ({"tokens": "two words"}, "names@news", "input 1: tokens should be a list of words; got 'two words'"),
        ({"tokens": ["a", 1]}, "names@news", "input 1: tokens should be a list of words"),
    ],
)
def test_inputs_that_cannot_be_read_say_which(run, given, task, message):
    with pytest.raises(SslmError, match=message):
        run.predict([given], task)


def test_no_inputs_no_answers(run):
    assert run.predict([], "sentiment@film") == []


def test_tasks_that_cannot_answer(run):
    with pytest.raises(RunError, match=r"unknown task 'sentiment@flim'; did you mean sentiment@film\?"):
        run.predict(FILMS, "sentiment@flim")
    with pytest.raises(RunError, match="mlm@film: a language model's head has no prediction"):
        run.predict(FILMS, "mlm@film")


def test_a_run_without_a_model_says_what_to_do(finished, tmp_path):
    shutil.copy(finished.path / "spec.yaml", tmp_path)
    with pytest.raises(RunError, match="no trained model; run `sslm train` first"):
        load_run(tmp_path).predict(FILMS, "sentiment@film")


def test_a_model_that_is_damaged_is_not_used(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    weights = tmp_path / "run" / "train" / "model" / "encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(RunError, match=r"model.safetensors: is damaged: its checksum differs"):
        load_run(tmp_path / "run").predict(FILMS, "sentiment@film")


def test_a_model_of_another_spec_is_not_used(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    model = tmp_path / "run" / "train" / "model"
    shutil.rmtree(model / "heads" / "sentiment")
    (model / "digests.json").unlink()
    with pytest.raises(RunError, match="has no head 'sentiment'; train this spec again"):
        load_run(tmp_path / "run").predict(FILMS, "sentiment@film")


def test_the_run_folder_is_enough(specs, tmp_path, cli):
    """Moved elsewhere, with data and caches gone, a run still answers."""
    copied = shutil.copy(specs.texts / "names.conll", tmp_path / "names.conll")
    content = specs.content("names", schedule={"tokens_per_batch": 256, "max_steps": 2})
    content["streams"][0]["data"]["path"] = "names.conll"
    status, _, said = cli(
        "train", specs.write(content), "--out", tmp_path / "run", "--cache", tmp_path / "cache"
    )
    assert status == 0, said
    (tmp_path / "run").rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "spec.yaml").unlink()
    (tmp_path / copied).unlink()
    (answer,) = load_run(tmp_path / "moved").predict(["Ada came"], "names@news")
    assert len(answer["tags"]) == 2
