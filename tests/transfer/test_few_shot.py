"""Few-shot samples: how many of each label, by what they change, and by what not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sslm_platform.transfer.few_shot import example_kinds, few_examples, few_shot_feed

KEYS_N = np.random.default_rng(5).permutation(40).astype(np.uint64)
KINDS = [frozenset({"ab"[n % 4 == 0]}) for n in range(40)]  # 30 of a, 10 of b


@pytest.mark.parametrize(("k", "expected"), [(1, (1, 1)), (7, (7, 7)), (20, (20, 10))])
def test_each_label_gets_k_or_all_that_there_are(k, expected):
    rows = few_examples(KINDS, KEYS_N, k, seed=1, draw=0)
    counts = Counter(kind for row in rows for kind in KINDS[row])
    assert (counts["a"], counts["b"]) == expected
    assert list(rows) == sorted(set(rows.tolist()))


def test_draws_and_seeds_draw_other_examples_and_the_order_of_the_rows_does_not():
    def keys(order, **key):
        kinds = [KINDS[i] for i in order]
        return set(KEYS_N[order][few_examples(kinds, KEYS_N[order], 5, **key)].tolist())

    given, turned = np.arange(40), np.arange(40)[::-1]
    assert keys(given, seed=1, draw=0) == keys(turned, seed=1, draw=0)
    drawn = [keys(given, seed=seed, draw=draw) for seed in (1, 2) for draw in (0, 1)]
    assert all(a != b for i, a in enumerate(drawn) for b in drawn[:i])


def test_every_example_is_as_likely_as_the_others_of_its_label():
    times = Counter(
        int(row) for draw in range(600) for row in few_examples(KINDS, KEYS_N, 2, seed=3, draw=draw)
    )
    of_a = np.array([times[n] for n in range(40) if n % 4])
    assert of_a.sum() == 1200
    assert abs(of_a - 40).max() < 5 * np.sqrt(40)  # binomial, standard deviation 6


def test_tags_count_sentences_with_each_type(corpus):
    task = corpus.run.tasks["names@news"]
    feed = corpus.task_feed(task, 1)
    drawn = few_shot_feed(feed, task, 3, seed=1, draw=0).splits
    kinds = example_kinds(task, drawn["train"])
    assert set(kinds) == {frozenset({"PER", "LOC"})}
    assert len(kinds) == 3  # each sentence has both types
    assert drawn["test"] is feed.splits["test"]


def test_values_and_texts_alone_have_k_examples_in_all(corpus):
    for name in ("rating@film", "mlm@film"):
        task = corpus.run.tasks[name]
        assert len(few_shot_feed(corpus.task_feed(task, 1), task, 5, seed=1, draw=0).splits["train"]) == 5


def test_a_taken_split_is_the_examples_themselves(corpus):
    task = corpus.run.tasks["sentiment@film"]
    train = corpus.task_feed(task, 1).splits["train"]
    rows = np.array([3, 4, 11])
    taken = train.take(rows)
    texts, labels = (train.values(task.identity, field) for field in ("text", "label"))
    assert taken.values(task.identity, "text") == [texts[row] for row in rows]
    assert taken.values(task.identity, "label") == [labels[row] for row in rows]
    known = corpus.labels([task])
    for mine, theirs in zip(
        taken.encoded(task.identity, [0, 1, 2], known),
        train.encoded(task.identity, rows.tolist(), known),
        strict=True,
    ):
        np.testing.assert_array_equal(mine.input_ids_L, theirs.input_ids_L)
        assert mine.values == theirs.values
