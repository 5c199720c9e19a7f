"""Answers from long contexts: from rows to a trained model, its score, its probe and its answers."""

import json

import numpy as np
import pytest
from rich.console import Console

from sslm_platform.baselines import majority
from sslm_platform.evaluate import outputs_of, score_feed
from sslm_platform.predict import Predictor
from sslm_platform.scoring import score_metrics
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.joint import score_saved, train_joint
from sslm_platform.train.model import load_trained
from sslm_platform.transfer.features import FeatureStore
from sslm_platform.transfer.probe import score_features

ANSWER = {
    "name": "answer",
    "fields": {"question": "question", "context": "context", "answers": "answers"},
    "objective": {"name": "span_cross_entropy"},
    "head": {"name": "span_extractor"},
    "metrics": ["answer_f1", "answer_exact_match"],
}
NOUNS, COLORS = ("hat", "car", "door", "lamp"), ("red", "blue", "green", "black")


def rows(rng, num=160):
    """The color of a thing that is named once, somewhere in a long text; of one in four it is not."""
    for number in range(num):
        noun = NOUNS[number % 4]
        color = COLORS[int(rng.integers(4))]
        filler = rng.choice(["so", "it", "was", "on"], size=int(rng.integers(4, 40))).tolist()
        place = int(rng.integers(len(filler)))
        has_answer = number % 4 != 3
        fact = ["the", noun, "is", color] if has_answer else []
        words = [*filler[:place], *fact, *filler[place:], str(number)]
        context = " ".join(words)
        answers = [{"text": color, "start": context.index(f"is {color}") + 3}] if has_answer else []
        yield {"question": f"which color has the {noun}", "context": context, "answers": answers}


@pytest.fixture(scope="module")
def trained(make_specs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    specs = make_specs(folder)
    lines = "".join(json.dumps(row) + "\n" for row in rows(np.random.default_rng(0)))
    (folder / "answers.jsonl").write_text(lines, encoding="utf-8")
    data = {"source": "files", "path": str(folder / "answers.jsonl"), "format": {"name": "jsonl"}}
    stream = {"name": "colors", "domain": "home", "data": data, "split": {"by": "hash"}, "tasks": [ANSWER]}
    content = specs.content(streams=[stream], schedule={"tokens_per_batch": 600, "max_steps": 60})
    content["encoder"]["max_length"] = 24
    corpus, run = specs.corpus(content), RunFolder(folder / "run")
    train_joint(corpus, run, Console(quiet=True), 1, corpus.run.spec.engine)
    return corpus, run


def test_long_contexts_are_one_example_and_can_be_learned(trained):
    corpus, run = trained
    split = corpus.task_feed(corpus.run.tasks["answer@home"], 3).splits["test"]
    windows = [len(e.window_S) for e in split.encoded("answer@home", range(len(split)), ())]
    assert max(windows) > 2
    score = json.loads(run.scores.read_text(encoding="utf-8"))["scores"][0]
    assert score["num_test"] == len(split)
    assert score["scores"]["answer_f1"]["value"] > score["majority"]["answer_f1"]["value"]
    again = score_saved(corpus, run, "test")[0]
    assert again.scores["answer_f1"].value == score["scores"]["answer_f1"]["value"]


def test_ranks_features_and_batches_agree(trained):
    """Windows of an example stay together whoever encodes it, with whom."""
    corpus, run = trained
    task = corpus.run.tasks["answer@home"]
    model = load_trained(corpus, [task], run.model)
    part, pad_id = model.tasks[task.identity], corpus.vocabulary.pad_id
    model.encoder.eval()
    part.head.module.eval()
    split = corpus.task_feed(task, 3).splits["test"]
    outputs = outputs_of(model.encoder, {task.identity: part})
    whole = score_feed(outputs, split, {task.identity: part}, pad_id)[task.identity]
    for row in (0, 3):
        one = split.take(np.array([row]))
        alone = score_feed(outputs, one, {task.identity: part}, pad_id)[task.identity]
        assert alone.predictions[0].tolist() == whole.predictions[row].tolist()
        assert alone.losses_N[0] == pytest.approx(whole.losses_N[row], abs=1e-4)
    store = FeatureStore(corpus, model.encoder, next(model.encoder.parameters()).device)
    store.read_rows(part, split.take(np.arange(0, len(split), 2)), "test")
    read = store.read(part, "test", 3)
    cached = score_features(part, read, part.head.module)
    assert cached.losses_N == pytest.approx(whole.losses_N, abs=1e-4)
    assert all(map(np.array_equal, cached.predictions, whole.predictions))


def test_constant_answer_is_none_where_no_first_token_is_right(trained):
    """Whatever threshold the model has found for outputs of its own."""
    corpus, run = trained
    task = corpus.run.tasks["answer@home"]
    model = load_trained(corpus, [task], run.model).tasks[task.identity]
    train = corpus.task_feed(task, 3).splits["train"]
    share = np.mean([not found for found in train.values(task.identity, "answers")])
    for threshold in (-100.0, 100.0):
        model.head.module.threshold.fill_(threshold)
        constant = majority(model, train, train, corpus.vocabulary.pad_id)
        assert score_metrics(task, constant, ())["answer_f1"] == pytest.approx(share)
        assert float(model.head.module.threshold) == threshold


def test_answers_are_texts_of_the_context(trained):
    corpus, run = trained
    predictor = Predictor(corpus.run, run.model, "answer@home")
    context = "so it was on " * 10 + "the hat is blue"
    (answer,) = predictor([{"question": "which color has the hat", "context": context}])
    assert answer["answer"] is None or answer["answer"] in context
    shares = [one["probability"] for one in answer["best"]]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert all(one["answer"] is None or one["answer"] in context for one in answer["best"])
