"""Measured cells against what is computed another way."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from sslm_platform.predict import Predictor
from sslm_platform.report.records import read_cells, read_trainings
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.loop import plan_training
from sslm_platform.train.model import build_model
from sslm_platform.transfer.cells import plan_cells
from sslm_platform.transfer.few_shot import few_examples
from sslm_platform.transfer.runner import run_transfer

SHOP, FILM = ({"task": "sentiment", "domain": domain} for domain in ("shop", "film"))
ZERO_SHOT = {"source_stage": "full", "target_stage": "zero_shot", "sources": FILM, "targets": SHOP}


@pytest.fixture
def lab(specs, encoder_folder, tmp_path):
    """Return a function from blocks to the corpus, the folder, and the records by protocol."""

    def lab(blocks, *streams, change=None, **sections):
        content = specs.content(*streams, encoder=encoder_folder, transfer=blocks, **sections)
        if change is not None:
            change(content)
        corpus, folder = specs.corpus(content), tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        run_transfer(corpus, plan_cells(corpus), RunFolder(folder), Console(file=io.StringIO(), width=200))
        records = read_cells(folder / "transfer").values()
        assert {record.status for record in records} == {"done"}, [r.error for r in records]
        return corpus, folder / "transfer", {record.key.protocol: record for record in records}

    return lab


def relabelled(stream, labels):
    def change(content):
        content["streams"][stream]["tasks"][0]["fields"]["label"] = labels

    return change


def test_other_names_for_the_same_labels_change_no_score(lab):
    """`apt` sorts before `bad`: the ids are turned, too."""
    given = ZERO_SHOT | {"max_steps": 12}
    _, _, plain = lab([given], "films", "shops")
    renamed = relabelled(1, {"column": "label", "map": {"positive": "apt", "negative": "bad"}})
    mapped = given | {"label_map": {"positive": "apt", "negative": "bad"}}
    _, _, other = lab([mapped], "films", "shops", change=renamed)
    assert set(plain) == set(other)
    for protocol in ("full/zero_shot", "head/zero_shot", "tfidf/zero_shot"):
        assert other[protocol].scores == plain[protocol].scores


def test_the_probabilities_of_labels_with_one_meaning_are_added(lab):
    """Of ratings a to d, d stands for nothing: what the saved source says of it takes no part."""
    bins = {"a": [-3, -3], "b": [-2, -2], "c": [2, 2], "d": [3, 3]}
    meaning = {"a": "positive", "b": "negative", "c": "positive"}
    given = ZERO_SHOT | {"max_steps": 12, "label_map": meaning}
    change = relabelled(0, {"column": "rating", "bins": bins})
    corpus, folder, records = lab([given], "films", "shops", change=change)
    (model,) = folder.glob("trainings/*/model")
    test = corpus.task_feed(corpus.run.tasks["sentiment@shop"], 3).splits["test"]
    answers = Predictor(corpus.run, model, "sentiment@film")(test.values("sentiment@shop", "text"))
    hits, said = [], set()
    for answer, gold in zip(answers, test.values("sentiment@shop", "label"), strict=True):
        p = answer["probabilities"]
        label = "positive" if p["a"] + p["c"] > p["b"] else "negative"
        hits.append(label == gold)
        said.add(label)
    assert records["full/zero_shot"].scores["accuracy"].value == pytest.approx(np.mean(hits))
    assert len(said) == 2  # the likeliest label alone is always b


def test_a_few_shot_probe_is_logistic_regression_on_its_draw(lab):
    few_shot = {"k": 3, "draws": 1}
    given = {"source_stage": "none", "target_stage": "few_shot", "few_shot": few_shot, "targets": SHOP}
    corpus, _, records = lab([given], "shops")
    task = corpus.run.tasks["sentiment@shop"]
    model = build_model(corpus, [task], 3)
    model.encoder.eval()
    splits = corpus.task_feed(task, 3).splits

    def features(split):
        rows = []
        for example in split.encoded(task.identity, range(len(split)), ()):
            ids = torch.from_numpy(example.input_ids_L.astype(np.int64))[None]
            mask = torch.ones_like(ids, dtype=torch.bool)
            with torch.no_grad():
                hidden_BLD, _ = model.encoder(ids, mask, None)
            head = next(iter(model.heads.values()))
            rows.append(head.features(hidden_BLD, mask, {})[0].numpy())
        return np.array(rows, dtype=np.float64)

    train = splits["train"]
    labels = train.values(task.identity, "label")
    rows = few_examples([frozenset({label}) for label in labels], train.keys_N, 3, seed=3, draw=0)
    oracle = LogisticRegression(C=2.0, tol=1e-8, max_iter=10_000)  # two labels: C is twice ours
    oracle.fit(features(train.take(rows)), [labels[row] for row in rows])
    expected = oracle.score(features(splits["test"]), splits["test"].values(task.identity, "label"))
    record = records["none/few_shot-3"]
    assert record.scores["accuracy"].value == pytest.approx(expected)
    assert record.num_train == 6


@pytest.mark.parametrize("learner", ["probe", "finetune"])
def test_few_shots_weigh_labels_by_the_draw(lab, learner):
    """A draw has as many examples of each label: there are no weights to balance, whatever the split has."""
    few_shot = {"k": 3, "draws": 1, "by": learner}
    given = {"source_stage": "none", "target_stage": "few_shot", "few_shot": few_shot}
    if learner == "finetune":
        given["finetune_max_steps"] = 3

    def weighted(content):
        task = next(t for t in content["streams"][0]["tasks"] if t["name"] == "sentiment")
        task["fields"]["label"] = {"column": "rating", "bins": {"worst": [-3, -3], "other": [-2.5, 3]}}
        task["objective"]["options"] = {"class_weights": "balanced"}
        content["streams"][0]["tasks"] = [task]

    def unweighted(content):
        weighted(content)
        content["streams"][0]["tasks"][0]["objective"]["options"] = {}

    found = []
    for change in (weighted, unweighted):
        corpus, _, records = lab([given], "films", change=change)
        (task,) = corpus.run.tasks.values()
        (record,) = (r for r in records.values() if r.key.source_stage == "none")
        found.append(record.resamples)
    counts, _ = corpus.label_counts(task, corpus.labels([task]))
    assert max(counts) > 2 * min(counts)
    assert found[0] == found[1]


def test_a_later_stage_starts_where_the_one_before_ended_and_leaves_its_head_alone(lab, encoder_folder):
    given = {
        "source_stage": "sequential",
        "target_stage": "zero_shot",
        "sources": {"task": "names"},
        "then": [{"task": "fits"}],
        "targets": {"task": "names"},
        "max_steps": 3,
    }
    _, folder, _ = lab([given], "names", "pairs")
    (last,) = (r for r in read_trainings(folder).values() if r.start)
    first, second = (folder / "trainings" / name / "model" for name in (last.start, last.id))
    head = "heads/names@news/head.safetensors"
    kept, moved = load_file(first / head), load_file(second / head)
    assert all(torch.equal(kept[name], moved[name]) for name in kept)
    start = load_file(first / "encoder" / "model.safetensors")
    end = load_file(second / "encoder" / "model.safetensors")
    pretrained = load_file(Path(encoder_folder["path"]) / "model.safetensors")

    def distance(one, other):
        return sum(float((one[name] - other[name]).square().sum()) for name in one)

    assert 0 < distance(start, end) < distance(pretrained, end)


def test_a_pair_passes_over_each_task_as_often_as_each_alone(specs, encoder_folder):
    """What makes the gain over `alone` fair: epochs add up."""
    corpus = specs.corpus(specs.content("films", "shops", encoder=encoder_folder))
    film, shop = (corpus.run.tasks[f"sentiment@{domain}"] for domain in ("film", "shop"))

    def num_steps(*tasks):
        model, spec = build_model(corpus, list(tasks), 1), corpus.run.spec
        return plan_training(corpus, model, spec.schedule, spec.optimizer, 1, "test", epochs=2.0).num_steps

    assert num_steps(film, shop) == num_steps(film) + num_steps(shop)
