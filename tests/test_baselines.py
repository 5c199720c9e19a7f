"""The constant predictor against counting by hand, and TF-IDF in two scripts."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from sslm_platform.baselines import TFIDF_C, majority, tfidf
from sslm_platform.evaluate import EVALUATION_SEED, make_batch
from sslm_platform.scoring import score_metrics


def scored(corpus, model, identity):
    part = model.tasks[identity]
    feed = corpus.task_feed(part.task, 3)
    train, test = feed.splits["train"], feed.splits["test"]
    return part, train, test, majority(part, train, test, corpus.vocabulary.pad_id)


@pytest.mark.parametrize("identity", ["sentiment@film", "sentiment@shop", "fits@quiz"])
def test_the_most_frequent_label_and_the_entropy_of_the_labels(corpus, model, identity):
    part, train, test, result = scored(corpus, model, identity)
    counts = Counter(train.values(identity, "label"))
    commonest = max(part.labels, key=lambda label: counts[label])
    gold = test.values(identity, "label")
    assert {part.labels[p] for p in result.predictions} == {commonest}
    total = sum(counts.values()) + len(part.labels)
    nats = [-math.log((counts[label] + 1) / total) for label in gold]
    np.testing.assert_allclose(result.losses_N, nats, rtol=1e-5)
    expected = sum(label == commonest for label in gold) / len(gold)
    assert score_metrics(part.task, result, part.labels)["accuracy"] == pytest.approx(expected)


def test_the_most_frequent_tag_of_all_words(corpus, model):
    part, train, test, result = scored(corpus, model, "names@news")
    counts = Counter(tag for tags in train.values("names@news", "tags") for tag in tags)
    total = sum(counts.values()) + len(part.labels)
    gold = test.values("names@news", "tags")
    nats = [sum(-math.log((counts[tag] + 1) / total) for tag in tags) for tags in gold]
    np.testing.assert_allclose(result.losses_N, nats, rtol=1e-5)
    assert {part.labels[tag] for tags in result.predictions for tag in tags} == {"O"}
    assert score_metrics(part.task, result, part.labels)["entity_f1"] == 0.0


def test_the_mean_of_the_values(corpus, model):
    _, train, test, result = scored(corpus, model, "rating@film")
    mean = np.mean(train.values("rating@film", "value"))
    np.testing.assert_allclose(result.predictions, mean, rtol=1e-5)
    gold = np.array(test.values("rating@film", "value"))
    np.testing.assert_allclose(result.losses_N, (gold - mean) ** 2, rtol=1e-4)


def test_bits_per_token_of_the_unigram_model(corpus, model):
    part, train, test, result = scored(corpus, model, "mlm@film")

    def tokens(split):
        batch = make_batch(
            split,
            np.arange(len(split)),
            {"mlm@film": part},
            corpus.vocabulary.pad_id,
            EVALUATION_SEED,
            0,
        )
        return batch.tasks["mlm@film"].targets["labels"].tolist()

    counts, hidden = Counter(tokens(train)), tokens(test)
    size = corpus.vocabulary.size
    total = sum(counts.values()) + size
    bits = np.mean([-math.log2((counts[token] + 1) / total) for token in hidden])
    assert result.weights_N.sum() == len(hidden)
    assert score_metrics(part.task, result, ())["bits_per_token"] == pytest.approx(bits, rel=1e-5)
    assert {p for row in result.predictions for p in row.tolist()} == {counts.most_common(1)[0][0]}


ENGLISH = (["a lovely film", "a dull film", "lovely music", "dull music"], ["up", "down", "up", "down"])
CHINESE = (["这家菜好吃", "这家汤难吃", "菜真好吃", "面太难吃"], ["up", "down", "up", "down"])


def answers(train, texts, dev=None, gold=None):
    """TF-IDF's answers with labels (down, up); C is chosen by the right answers on dev."""
    dev, gold = (train[0], [int(label == "up") for label in train[1]]) if dev is None else (dev, gold)
    shares, chosen = tfidf(train, texts, ("down", "up"), dev, lambda p: np.sum(p.argmax(axis=1) == gold))
    assert shares.sum(axis=1) == pytest.approx(1)
    return shares.argmax(axis=1).tolist(), chosen


def test_tfidf_reads_words():
    assert answers(ENGLISH, ["lovely ending", "dull ending"])[0] == [1, 0]


def test_tfidf_reads_characters_where_words_are_not_spaced():
    """Read as words, every sentence would be one unknown word."""
    assert answers(CHINESE, ["他们的饭好吃", "他们的饭难吃"])[0] == [1, 0]


def test_tfidf_of_one_label_predicts_it():
    assert answers((["a b", "c d"], ["up", "up"]), ["e"])[0] == [1]


def test_tfidf_of_texts_without_any_word_does_not_stop_a_run():
    assert len(answers(([":)", ":(", "!"], ["up", "down", "up"]), [":)"])[0]) == 1


def test_tfidf_is_tuned_on_dev():
    """With few of one label, a strong penalty answers the frequent label whatever the text says."""
    train = (["good"] * 9 + ["bad"], ["up"] * 9 + ["down"])
    predictions, chosen = answers(train, ["bad", "good"], ["bad", "good"], [0, 1])
    assert predictions == [0, 1]
    assert chosen > TFIDF_C[0]
