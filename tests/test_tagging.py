"""Tags of texts longer than the encoder reads, by each word alone and by all together, from the spec on."""

import numpy as np
import pytest

from sslm_platform.evaluate import outputs_of, score_feed
from sslm_platform.runs import open_run
from sslm_platform.train.model import load_trained
from sslm_platform.transfer.features import FeatureStore
from sslm_platform.transfer.probe import score_features

MAX_LENGTH = 8  # of sentences of 9 tokens and more
CRF = {
    "name": "chain",
    "fields": {"tokens": "tokens", "tags": "tags"},
    "objective": {"name": "crf"},
    "head": {"name": "crf_tagger"},
    "metrics": ["entity_f1", "accuracy"],
}


@pytest.fixture(scope="module")
def trained(make_specs, tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("tagging")
    specs = make_specs(folder)
    content = specs.content("names", schedule={"tokens_per_batch": 256, "max_steps": 60})
    content["encoder"] = {**content["encoder"], "max_length": MAX_LENGTH}
    content["streams"][0]["tasks"].append(CRF)
    run = open_run(specs.write(content), out=folder / "run", cache=texts / "cache")
    run.train()
    return run


def test_words_beyond_the_length_are_learned_and_both_heads_share_an_encoding(trained):
    (feed,) = trained.resolved.feeds
    assert len(feed.tasks) == 2
    split = trained.corpus.task_feed(feed.tasks[0], 3).splits["test"]
    examples = split.encoded("names@news", range(len(split)), ())
    assert all(len(e.window_S) > 1 for e in examples)
    assert all((e.word_start_W >= 0).all() for e in examples)
    for score in trained.evaluate("test"):
        assert score.scores["entity_f1"].value > 0.9
        (table,) = score.details.values()
        assert set(table) == {"LOC", "PER"}
        assert all(values["gold"] == len(split) for values in table.values())


def test_batches_and_features_agree(trained):
    corpus = trained.corpus
    tasks = list(corpus.run.tasks.values())
    model = load_trained(corpus, tasks, trained.path / "train" / "model")
    model.encoder.eval()
    pad_id = corpus.vocabulary.pad_id
    store = FeatureStore(corpus, model.encoder, next(model.encoder.parameters()).device)
    for name, part in model.tasks.items():
        part.head.module.eval()
        split = corpus.task_feed(part.task, 3).splits["test"]
        outputs = outputs_of(model.encoder, {name: part})
        whole = score_feed(outputs, split, {name: part}, pad_id)[name]
        alone = score_feed(outputs, split.take(np.array([3])), {name: part}, pad_id)[name]
        assert alone.predictions[0].tolist() == whole.predictions[3].tolist()
        assert alone.losses_N[0] == pytest.approx(whole.losses_N[3], abs=1e-4)
        cached = score_features(part, store.read(part, "test", 3), part.head.module)
        assert cached.losses_N == pytest.approx(whole.losses_N, abs=1e-3)
        assert all(map(np.array_equal, cached.predictions, whole.predictions))


def test_a_whole_text_has_no_windows(make_specs, tmp_path, texts):
    """A task that reads one state for a text shares the words: they are cut off then, for both."""
    specs = make_specs(tmp_path)
    content = specs.content("names")
    content["encoder"] = {**content["encoder"], "max_length": MAX_LENGTH}
    label = {"name": "kind", "fields": {"tokens": "tokens", "label": "first"}}
    whole = {"objective": {"name": "cross_entropy"}, "head": {"name": "sequence_classifier"}}
    content["streams"][0]["tasks"].append({**label, **whole, "metrics": ["accuracy"]})
    run = specs.resolve(content)
    assert [task.windows for task in run.tasks.values()] == [False, False]
    assert len(run.feeds) == 1


def test_answers_come_in_any_scheme(trained):
    given = ["yesterday Ada Smith came to Bath 7"]
    (plain,) = trained.predict(given, "chain@news")
    (other,) = trained.predict(given, "chain@news", scheme="iobes")
    assert plain["tags"] == ["O", "B-PER", "I-PER", "O", "O", "B-LOC", "O"]
    assert other["tags"] == ["O", "B-PER", "E-PER", "O", "O", "S-LOC", "O"]


def test_a_constant_chain_is_the_unigram_model(trained):
    (_, score) = trained.evaluate("test")
    assert score.majority["accuracy"].value == pytest.approx(4 / 7)
    assert score.majority["entity_f1"].value == 0.0
