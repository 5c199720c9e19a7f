"""The models of the best scorings."""

from __future__ import annotations

import json
import shutil

import pytest

from sslm_platform.errors import RunError
from sslm_platform.model.store import check_model, read_heads
from sslm_platform.train import joint
from sslm_platform.train.model import encoder_weights


@pytest.fixture
def scored(monkeypatch):
    """Let the scorings of the next training have these values."""

    def scored(*values):
        iterator = iter(values)
        monkeypatch.setattr(joint, "selection_value", lambda *_: next(iterator))

    return scored


@pytest.fixture
def corpus(specs, trainings):
    sections = trainings.sections | {"checkpoint": {"every": 3, "keep_best": 2}}
    return specs.corpus(specs.content("names", **sections))


def model_of(folder):
    return json.loads((folder / "model.json").read_text())


def test_the_best_are_kept_with_their_step_and_score(corpus, tmp_path, trainings, scored):
    scored(0.4, 0.1, 0.6, 0.5, 0.2)
    trainings.train(corpus, tmp_path)
    assert model_of(tmp_path / "train" / "model") == {"step": 6, "mean_gain_over_majority": 0.6}
    (second,) = (tmp_path / "train" / "models").iterdir()
    assert model_of(second) == {"step": 8, "mean_gain_over_majority": 0.5}
    assert trainings.done(tmp_path)["kept"] == [[6, 0.6], [8, 0.5]]
    assert not (tmp_path / "train" / "model").is_symlink()


def test_what_came_after_the_checkpoint_is_undone(corpus, tmp_path, trainings, scored):
    """Step 4's model was the best when the training was killed; trained again it is not (other hardware)."""
    scored(0.4, 0.6)
    trainings.kill(corpus, tmp_path, 5)
    assert model_of(tmp_path / "train" / "model")["step"] == 4
    scored(0.3, 0.2, 0.1, 0.0)
    trainings.train(corpus, tmp_path)
    assert model_of(tmp_path / "train" / "model") == {"step": 2, "mean_gain_over_majority": 0.4}
    (second,) = (tmp_path / "train" / "models").iterdir()
    assert model_of(second) == {"step": 4, "mean_gain_over_majority": 0.3}


def test_a_damaged_last_checkpoint_leaves_the_models_that_the_one_before_counts_on(
    specs, tmp_path, trainings, scored
):
    """Step 4's was better, step 2's was dropped for it; gone back to step 3, nothing is as good again."""
    sections = trainings.sections | {"checkpoint": {"every": 3, "keep_best": 1}}
    corpus = specs.corpus(specs.content("names", **sections))
    scored(0.4, 0.6, 0.5)
    trainings.kill(corpus, tmp_path, 7)
    damaged = tmp_path / "train" / "checkpoint" / "encoder.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    scored(0.3, 0.2, 0.1, 0.0)
    assert "taking the checkpoint before it" in trainings.train(corpus, tmp_path)
    assert model_of(tmp_path / "train" / "model") == {"step": 2, "mean_gain_over_majority": 0.4}
    assert not (tmp_path / "train" / "models").exists()


@pytest.mark.parametrize("file", ["encoder/model.safetensors", "heads/names@news/head.safetensors"])
def test_a_kept_model_that_is_damaged_is_said_before_training_goes_on(corpus, tmp_path, trainings, file):
    trainings.kill(corpus, tmp_path, 8)
    damaged = next((tmp_path / "train" / "models").glob("step-*")) / file
    content = bytearray(damaged.read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(RunError, match=rf"{file}: is damaged: its checksum differs; .*--restart"):
        trainings.train(corpus, tmp_path)
    shutil.rmtree(damaged.parents[file.count("/")])
    with pytest.raises(RunError, match=r"step-\d: is missing: the model of step \d.*--restart"):
        trainings.train(corpus, tmp_path)


def test_a_trained_model_that_is_damaged_is_not_loaded(corpus, tmp_path, trainings):
    trainings.train(corpus, tmp_path)
    model = tmp_path / "train" / "model"
    check_model(model)
    weights = model / "encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(RunError, match=r"model.safetensors: is damaged"):
        read_heads(model)
    with pytest.raises(RunError, match=r"model.safetensors: cannot be read"):
        encoder_weights(model)
    (model / "digests.json").unlink()  # of an earlier version
    read_heads(model)


def test_killed_before_the_first_checkpoint_it_begins_again(corpus, tmp_path, trainings, scored):
    scored(0.9)
    trainings.kill(corpus, tmp_path, 3)
    assert model_of(tmp_path / "train" / "model")["step"] == 2
    scored(0.1, 0.2, 0.3, 0.2, 0.1)
    assert "continuing" not in trainings.train(corpus, tmp_path)
    assert trainings.done(tmp_path)["kept"] == [[6, 0.3], [4, 0.2]]


def test_one_model_is_the_default(specs, tmp_path, trainings, scored):
    scored(0.1, 0.3, 0.2)
    corpus = specs.corpus(specs.content("names", evaluation={"every": 2}))
    trainings.train(corpus, tmp_path)
    assert model_of(tmp_path / "train" / "model")["step"] == 4
    assert not (tmp_path / "train" / "models").exists()
