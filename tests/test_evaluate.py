"""Scores do not depend on how a split is cut into batches or spread over ranks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sslm_platform.evaluate import (
    EVALUATION_SEED,
    evaluation_batches,
    make_batch,
    outputs_of,
    score_feed,
    score_outputs,
)
from sslm_platform.scoring import score_metrics
from sslm_platform.train.model import build_model


@pytest.fixture(params=["films", "films, half of them labelled", "films/mlm", "names", "pairs", "shops"])
def scoring(request, corpus, model, specs):
    """Return a corpus, a model and the name of a feed."""
    name, _, partly = request.param.partition(",")
    if partly:
        content = specs.content("films")
        label = {"column": "rating", "bins": {"negative": [-3, -3], "positive": [2, 2]}}
        content["streams"][0]["tasks"][0]["fields"]["label"] = label
        corpus = specs.corpus(content)
        model = build_model(corpus, list(corpus.run.tasks.values()), 1)
        for module in (model.encoder, *model.heads.values()):
            module.eval()
    return corpus, model, name


def feed_parts(corpus, model, name):
    feed = corpus.feeds(list(corpus.run.tasks.values()), 3)[name]
    models = {task: model.tasks[task] for task in feed.tasks}
    return feed.splits["test"], models, outputs_of(model.encoder, models)


def one_by_one(corpus, model, name):
    """Score each example in a batch of its own, where nothing is padded."""
    split, models, outputs = feed_parts(corpus, model, name)
    found = {task: [] for task in models}
    with torch.no_grad():
        for row in range(len(split)):
            own = {task: models[task] for task in split.tasks_of(np.array([row]))}
            batch = make_batch(split, np.array([row]), own, corpus.vocabulary.pad_id, EVALUATION_SEED, 0)
            result = outputs(batch)
            for task, part in own.items():
                found[task].append(score_outputs(part, batch.tasks[task], batch.examples[task], result[task]))
    return found


def test_a_split_is_scored_like_its_examples_one_by_one_and_in_their_order(scoring):
    corpus, model, feed = scoring
    split, models, outputs = feed_parts(corpus, model, feed)
    whole = score_feed(outputs, split, models, corpus.vocabulary.pad_id)
    for task, singles in one_by_one(corpus, model, feed).items():
        scored = whole[task]
        assert len(scored) == len(split.of(task)) == len(singles) > 0
        np.testing.assert_allclose(scored.losses_N, [s.losses_N[0] for s in singles], rtol=1e-4)
        np.testing.assert_array_equal(scored.weights_N, [s.weights_N[0] for s in singles])
        for mine, single in zip(scored.references, singles, strict=True):
            np.testing.assert_array_equal(mine, single.references[0])
        for mine, single in zip(scored.predictions, singles, strict=True):
            np.testing.assert_allclose(mine, single.predictions[0], rtol=1e-4, atol=1e-5)


def test_weights_stay_on_the_host(corpus, model):
    """They are summed before the first backward: on a device, each step would begin by waiting for it."""
    split, models, _ = feed_parts(corpus, model, "films")
    rows = np.arange(3)
    batch = make_batch(split, rows, models, corpus.vocabulary.pad_id, 1, 0, torch.device("meta"))
    assert {t.device.type for t in batch.inputs.values() if t is not None} == {"meta"}
    for part in batch.tasks.values():
        assert {t.device.type for t in part.targets.values()} == {"meta"}
        assert part.weight_B.device.type == "cpu"


@pytest.mark.parametrize("world_size", [2, 3, 50])
def test_ranks_together_score_what_one_scores_with_equally_many_calls(scoring, world_size):
    corpus, model, feed = scoring
    split, models, outputs = feed_parts(corpus, model, feed)
    pad_id = corpus.vocabulary.pad_id
    alone = score_feed(outputs, split, models, pad_id)
    sent: dict[int, list] = {}
    calls: dict[int, int] = {}

    def on_rank(rank, gather):
        calls[rank] = 0

        def counted(batch):
            calls[rank] += 1
            return outputs(batch)

        return score_feed(counted, split, models, pad_id, rank=rank, world_size=world_size, gather=gather)

    for rank in range(world_size):
        parts: list = []

        def keep(value, parts=parts):
            parts.append(json.loads(json.dumps(value)))  # what travels is JSON
            return [[]]  # this rank sees nobody

        on_rank(rank, keep)
        sent[rank] = parts

    by_task = iter([[sent[rank][index] for rank in range(world_size)] for index in range(len(models))])
    merged = on_rank(0, lambda value: next(by_task))
    assert len(set(calls.values())) == 1
    for task, scored in merged.items():
        np.testing.assert_array_equal(scored.losses_N, alone[task].losses_N)
        np.testing.assert_array_equal(scored.weights_N, alone[task].weights_N)
        for kind in ("predictions", "references"):
            for mine, theirs in zip(getattr(scored, kind), getattr(alone[task], kind), strict=True):
                np.testing.assert_array_equal(mine, theirs)
        labels = models[task].labels
        first, second = (score_metrics(models[task].task, s, labels) for s in (scored, alone[task]))
        assert first == second


def test_evaluation_batches_hold_every_row_once_within_the_budget():
    lengths_N = np.array([5, 30, 7, 7, 2, 90, 11])
    batches = evaluation_batches(lengths_N, tokens=40)
    assert sorted(np.concatenate(batches).tolist()) == list(range(7))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * lengths_N[rows].max() <= 40
    assert batches[0].tolist() == [5]  # the longest first: what does not fit in memory fails at once


def test_masks_are_the_same_in_every_evaluation(corpus, model):
    split, models, outputs = feed_parts(corpus, model, "films/mlm")
    first, second = (
        score_feed(outputs, split, models, corpus.vocabulary.pad_id)["mlm@film"] for _ in range(2)
    )
    assert [r.tolist() for r in first.references] == [r.tolist() for r in second.references]
    np.testing.assert_array_equal(first.losses_N, second.losses_N)


def test_pairs_made_of_texts_do_not_depend_on_the_batch(specs):
    """Their labels are the objective's own, and the other texts are of the split, not of the batch."""
    content = specs.content("films")
    (stream,) = content["streams"]
    stream["tasks"] = [
        {
            "name": name,
            "fields": {"text": "text"},
            "objective": {"name": name},
            "head": {"name": "sequence_classifier"},
            "metrics": ["accuracy"],
        }
        for name in ("sop", "nsp")
    ]
    corpus = specs.corpus(content)
    tasks = list(corpus.run.tasks.values())
    model = build_model(corpus, tasks, seed=1)
    for part in (model.encoder, *model.heads.values()):
        part.eval()
    assert {name: head.labels for name, head in model.infos.items()} == {
        "sop@film": ("ordered", "swapped"),
        "nsp@film": ("next", "other"),
    }
    for feed in corpus.feeds(tasks, 3):
        split, models, outputs = feed_parts(corpus, model, feed)
        (whole,) = score_feed(outputs, split, models, corpus.vocabulary.pad_id).values()
        (singles,) = one_by_one(corpus, model, feed).values()
        np.testing.assert_allclose(whole.losses_N, [s.losses_N[0] for s in singles], rtol=1e-4)
        assert whole.references == [s.references[0] for s in singles]
        assert set(whole.references) == {0, 1}
