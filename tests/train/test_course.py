"""A training that freezes, unfreezes, decays to its start and averages is resumed with the same bits."""

import pytest
from safetensors.torch import load_file

from sslm_platform.engine.factory import make_engine
from sslm_platform.errors import SpecError
from sslm_platform.train.consolidate import stage_ends
from sslm_platform.train.loop import make_planner
from sslm_platform.train.model import build_model

OPTIMIZER = {
    "lr": 5.0e-3,
    "layer_decay": 0.8,
    "unfreeze": 0.5,
    "decay_to": "start",
    "average": {"name": "ema", "decay": 0.5, "start": 0.2},
}


@pytest.fixture
def content(specs, trainings):
    made = specs.content("films", "names", **trainings.sections, optimizer=OPTIMIZER)
    made["encoder"]["freeze"] = ["embeddings.word_embeddings", "encoder.layer.0.*.bias"]
    return made


def test_killed_and_resumed_it_ends_with_the_same_bits(specs, content, tmp_path, trainings):
    corpus = specs.corpus(content)
    corpus.check_backbone()
    trainings.train(corpus, tmp_path / "whole")
    trainings.kill(corpus, tmp_path / "killed", 5)
    moments = load_file(tmp_path / "killed" / "train" / "checkpoint" / "optimizer.safetensors")
    assert "encoder/average/backbone.encoder.layer.0.output.dense.weight" in moments
    assert not [name for name in moments if "word_embeddings" in name or "layer.0.output.dense.bias" in name]
    assert "continuing after step 3" in trainings.train(corpus, tmp_path / "killed")
    trainings.assert_same(tmp_path / "killed", tmp_path / "whole")


def test_names_are_checked_before_training(specs, content, cli):
    content["encoder"]["freeze"] = ["embedings"]
    spec = specs.write(content)
    status, _, err = cli("check", spec, "--data", "--cache", specs.texts / "cache")
    assert status == 2
    assert "encoder.freeze[0]: 'embedings' names nothing in BertModel; did you mean embeddings?" in err


def test_what_an_engine_cannot_do_exactly_is_refused_before_anything_is_loaded(specs, content, cli):
    content["engine"] = {"name": "deepspeed", "zero_stage": 2}
    status, _, err = cli("check", specs.write(content))
    assert status == 2
    assert "optimizer.average: stage 2 keeps slices of the weights" in err


def test_frozen_weights_and_moments_stay_out_of_a_model(specs, content, tmp_path, trainings):
    from sslm_platform.train.model import build_model, encoder_weights

    corpus = specs.corpus(content)
    trainings.train(corpus, tmp_path)
    start = build_model(corpus, list(corpus.run.tasks.values()), 3).encoder.state_dict()
    trained = encoder_weights(tmp_path / "train" / "model")
    moved = {name for name, value in trained.items() if not value.equal(start[name])}
    assert "backbone.embeddings.word_embeddings.weight" not in moved
    assert "backbone.encoder.layer.0.output.dense.bias" not in moved
    assert "backbone.encoder.layer.0.output.dense.weight" in moved


def test_changed_texts_are_the_same_after_a_kill(specs, tmp_path, trainings):
    made = specs.content("films", "names", **trainings.sections)
    for stream in made["streams"]:
        stream["augment"] = [{"name": "random_swap"}, {"name": "character_noise"}]
    corpus = specs.corpus(made)
    trainings.train(corpus, tmp_path / "whole")
    trainings.kill(corpus, tmp_path / "killed", 5)
    assert "continuing after step 3" in trainings.train(corpus, tmp_path / "killed")
    trainings.assert_same(tmp_path / "killed", tmp_path / "whole")


SEQUENCE = {"name": "sequential", "options": {"stages": [{"feeds": ["films"]}, {"feeds": ["names"]}]}}


def test_a_sequence_with_consolidation_is_resumed_with_the_same_bits(specs, tmp_path, trainings):
    schedule = trainings.sections["schedule"] | {"sampler": SEQUENCE}
    optimizer = {"lr": 5.0e-3, "consolidate": {"strength": 3.0, "examples": 5}}
    sections = trainings.sections | {"schedule": schedule, "optimizer": optimizer}
    corpus = specs.corpus(specs.content("films", "names", **sections))
    trainings.train(corpus, tmp_path / "whole")
    trainings.kill(corpus, tmp_path / "killed", 8)
    moments = load_file(tmp_path / "killed" / "train" / "checkpoint" / "optimizer.safetensors")
    name = "backbone.encoder.layer.0.output.dense.weight"
    assert moments[f"encoder/fisher/{name}"].sum() > 0
    assert "continuing after step 6" in trainings.train(corpus, tmp_path / "killed")
    trainings.assert_same(tmp_path / "killed", tmp_path / "whole")


def test_a_stage_without_a_step_is_no_stage(specs):
    stages = [
        {"feeds": ["films"], "share": 5},
        {"feeds": ["names"], "share": 0.1},
        {"feeds": ["names"], "share": 4},
    ]
    sampler = {"name": "sequential", "options": {"stages": stages}}
    schedule = {"tokens_per_batch": 120, "max_steps": 9, "sampler": sampler}
    corpus = specs.corpus(specs.content("films", "names", schedule=schedule))
    feeds = corpus.feeds(list(corpus.run.tasks.values()), 1)
    planner = make_planner(corpus, feeds, corpus.run.spec.schedule, 1)
    ends = [end for end, _ in planner.stages()]
    assert ends[0] == ends[1] < 9
    assert [(end, "films" in found) for end, found in stage_ends(planner).items()] == [(ends[0], True)]


def test_consolidation_of_an_encoder_that_is_frozen_or_of_losses_of_batches(specs, cli):
    schedule = {"max_steps": 4, "sampler": SEQUENCE}
    content = specs.content("films", "names", schedule=schedule, optimizer={"consolidate": {"strength": 1.0}})
    content["encoder"] |= {"freeze": ["*"]}
    contrast = {"name": "simcse", "fields": {"text": "text"}, "objective": {"name": "simcse"}}
    content["streams"][0]["tasks"] = [contrast | {"head": {"name": "embedding"}, "metrics": ["mean_loss"]}]
    status, out, err = cli("check", specs.write(content), "--data")
    assert status == 0, err
    assert "optimizer.consolidate: simcse@film: losses are of whole batches" in out + err
    corpus = specs.corpus(content)
    model = build_model(corpus, list(corpus.run.tasks.values()), 1)
    with pytest.raises(SpecError, match=r"optimizer.consolidate: holds what .* all of it is frozen"):
        make_engine(corpus.run.spec.engine, corpus.run.spec.optimizer, model.encoder, model.heads)


def test_consolidation_is_refused_where_it_has_no_meaning(specs, cli):
    content = specs.content("films", optimizer={"consolidate": {"strength": 1.0}})
    content["engine"] = {"name": "deepspeed", "zero_stage": 1}
    status, _, err = cli("check", specs.write(content))
    assert status == 2
    assert (
        "optimizer.consolidate: looks back at the end of each stage, and sampler proportional has none" in err
    )
    assert "optimizer.consolidate: needs single examples' gradients of the whole encoder" in err
