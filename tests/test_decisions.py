"""A task of label sets from its rows to a saved model whose threshold dev has set."""

import json

import numpy as np
import pytest
from rich.console import Console

from sslm_platform.decisions import tune_head
from sslm_platform.evaluate import outputs_of, score_feed
from sslm_platform.model.store import read_heads
from sslm_platform.predict import Predictor
from sslm_platform.scoring import score_intervals, score_metrics
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.joint import score_saved, train_joint

TOPICS = {
    "name": "topics",
    "fields": {"text": "text", "labels": "topics"},
    "objective": {"name": "binary_cross_entropy"},
    "head": {"name": "multilabel_classifier"},
    "metrics": ["micro_f1", "accuracy", "auroc"],
}


@pytest.fixture
def trained(specs, texts, tmp_path):
    """Topics are the nouns of a film review; each needs a threshold well below one half."""
    rows = [json.loads(line) for line in (texts / "films.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [
        json.dumps({"text": r["text"], "topics": [w for w in ("film", "plot", "cast") if w in r["text"]]})
        for r in rows
    ]
    (tmp_path / "topics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = {"source": "files", "path": str(tmp_path / "topics.jsonl"), "format": {"name": "jsonl"}}
    stream = {"name": "topics", "domain": "film", "data": data, "split": {"by": "hash"}, "tasks": [TOPICS]}
    content = specs.content("films", streams=[stream], schedule={"tokens_per_batch": 256, "max_steps": 30})
    corpus = specs.corpus(content)
    folder = RunFolder(tmp_path / "run")
    train_joint(corpus, folder, Console(quiet=True), 1, corpus.run.spec.engine)
    return corpus, folder


def test_threshold_is_set_on_dev_saved_and_used(trained):
    corpus, folder = trained
    state = next(iter(read_heads(folder.model).values()))[1]
    assert state["threshold"].item() != 0.5
    saved = json.loads(folder.scores.read_text(encoding="utf-8"))["scores"][0]
    assert saved["scores"]["micro_f1"]["value"] > saved["majority"]["micro_f1"]["value"]
    assert saved["scores"]["auroc"]["value"] > 0.7
    again = score_saved(corpus, folder, "test")[0]
    assert again.scores["micro_f1"].value == saved["scores"]["micro_f1"]["value"]
    predictor = Predictor(corpus.run, folder.model, "topics@film")
    answer = predictor(["the plot was great and the music felt lovely, take 2"])[0]
    chosen = [n for n, p in answer["probabilities"].items() if p >= round(state["threshold"].item(), 4)]
    assert answer["labels"] == chosen


def test_constant_predictor_has_the_frequencies(trained):
    """Its loss is the entropy of each label's frequency, add-one smoothed."""
    from sslm_platform.baselines import majority
    from sslm_platform.train.model import load_trained

    corpus, folder = trained
    task = corpus.run.tasks["topics@film"]
    model = load_trained(corpus, [task], folder.model).tasks[task.identity]
    splits = corpus.task_feed(task, 3).splits
    train = splits["train"]
    scored = majority(model, train, train, corpus.vocabulary.pad_id)
    sets = train.values(task.identity, "labels")
    share = np.array([(sum(n in s for s in sets) + 1) / (len(sets) + 2) for n in model.labels])
    gold = np.array([[n in s for n in model.labels] for s in sets])
    expected = -np.log(np.where(gold, share, 1 - share)).sum()
    assert scored.losses_N.sum() == pytest.approx(expected, rel=1e-5)
    assert score_metrics(task, scored, model.labels)["auroc"] == pytest.approx(0.5)
    assert len({tuple(ids) for ids in scored.predictions}) == 1


def test_scores_are_kept_only_where_something_reads_them(corpus, model):
    part = model.tasks["fits@quiz"]
    split = corpus.task_feed(part.task, 3).splits["dev"]
    outputs = outputs_of(model.encoder, {"fits@quiz": part})
    scored = score_feed(outputs, split, {"fits@quiz": part}, corpus.vocabulary.pad_id)["fits@quiz"]
    assert scored.scores is None
    assert tune_head(part.head.module, [scored])[0] is scored
    assert score_intervals(part.task, scored, part.labels)[0].keys() == {"accuracy"}
