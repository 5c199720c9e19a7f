"""Augmentation that follows dev scores: by hand, and in a training that is killed and resumed."""

import pytest

from sslm_platform.scheduling import DevScore
from sslm_platform.spec.schema import AdaptSpec, AugmentSpec
from sslm_platform.train.augmenting import after_scoring
from sslm_platform.train.job import task_content

FIXED = AugmentSpec(name="a", probability=0.4)
MOVING = AugmentSpec(name="b", probability=0.5, adapt=AdaptSpec(step=0.2, most=0.8))
TASKS = {"films": ("x", "y"), "names": ("z",)}
SPECS = {"films": (FIXED, MOVING), "names": (FIXED,)}


def scores(x, y):
    # y is an error: lower is better, 4 is the constant predictor's
    return {"x": DevScore(x, 0.5, 1.0), "y": DevScore(y, 4.0, 0.0), "z": DevScore(0.1, 0.0, 1.0)}


def test_a_probability_rises_with_the_score_and_falls_without_a_gain():
    memory, seen = {}, []
    for x, y in ((0.5, 4.0), (0.6, 4.0), (0.6, 3.0), (0.6, 3.0), (0.5, 3.0), (0.9, float("nan"))):
        memory = after_scoring(memory, TASKS, SPECS, scores(x, y))
        assert set(memory) == {"films"}
        fixed, moving = memory["films"]["probabilities"]
        assert fixed == 0.4
        seen.append(round(moving, 9))
    assert seen == [0.5, 0.7, 0.8, 0.6, 0.4, 0.6]
    assert memory["films"]["score"] == pytest.approx(0.4)


def test_it_stays_within_its_bounds():
    memory = after_scoring({}, TASKS, SPECS, scores(0.9, 1.0))
    for _ in range(5):
        memory = after_scoring(memory, TASKS, SPECS, scores(0.9, 1.0))
    assert memory["films"]["probabilities"] == [0.4, 0.0]


def test_a_training_goes_on_with_its_probabilities(specs, tmp_path, trainings):
    content = specs.content("films", "names", **trainings.sections)
    content["streams"][0]["augment"] = [{"name": "random_swap", "probability": 0.5, "adapt": {"step": 0.25}}]
    corpus = specs.corpus(content)
    trainings.train(corpus, tmp_path / "whole")
    trainings.kill(corpus, tmp_path / "killed", 5)
    trainings.train(corpus, tmp_path / "killed")
    trainings.assert_same(tmp_path / "killed", tmp_path / "whole")
    seen = [
        line["augmenting"]["films"]["probabilities"][0]
        for line in trainings.lines(tmp_path / "whole", "eval")
    ]
    assert seen[0] == 0.5
    assert len(set(seen)) > 1


def test_what_cannot_follow_is_refused(specs, cli):
    content = specs.content("films", "names")
    content["streams"][0]["augment"] = [{"name": "random_swap", "adapt": {}}]
    back = {"run": "nowhere", "task": "x@y"}
    content["streams"][1]["augment"] = [
        {"name": "back_translation", "options": {"there": back, "back": back}}
    ]
    status, _, err = cli("check", specs.write(content))
    assert status == 2
    assert "augment[0].adapt: follows dev scores: set evaluation.every" in err
    assert "names@news has tags, a field of kind tags: back_translation writes texts anew" in err


def test_another_file_of_synonyms_is_another_training_and_none_is_said_before_it(specs, tmp_path, cli):
    path = tmp_path / "synonyms.json"
    path.write_text('{"good": ["fine"]}')
    content = specs.content("films", "names", schedule={"tokens_per_batch": 120, "max_steps": 2})
    content["streams"][0]["augment"] = [{"name": "synonyms", "options": {"path": str(path)}}]
    corpus = specs.corpus(content)
    (task, *_) = (task for task in corpus.run.tasks.values() if task.stream.name == "films")
    before = task_content(corpus, task)
    assert task_content(corpus, task) == before
    path.write_text('{"good": ["nice"]}')
    after = task_content(corpus, task)
    assert after["augment"][0].pop("reads") != before["augment"][0].pop("reads")
    assert after == before
    path.unlink()
    status, _, err = cli("train", specs.write(content), "--out", tmp_path / "run", "--cache", corpus.cache)
    assert status == 2
    assert f"augment.options.path: {path}: No such file" in err
    assert not (tmp_path / "run" / "train").exists()
    status, _, checked = cli("check", specs.write(content), "--data", "--cache", corpus.cache)
    assert (status, checked) == (2, err)


def test_texts_without_spaces_are_said(specs):
    content = specs.content("films", "shops")
    for stream in content["streams"]:
        stream["augment"] = [{"name": "random_swap"}]
    said = [warning for warning in specs.corpus(content).warnings if "no spaces" in warning]
    assert [warning.split(":")[1].strip() for warning in said] == ["streams[1].tasks[0]"]
