"""Retrieval and choice: a trained model, its ranking of a split, its baselines and its answers."""

import json

import numpy as np
import pytest
import torch
from rich.console import Console

from sslm_platform.baselines import majority
from sslm_platform.errors import SslmError
from sslm_platform.evaluate import outputs_of, score_feed
from sslm_platform.predict import Predictor
from sslm_platform.ranking import candidates_of, ordered
from sslm_platform.runs import Run
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.joint import train_joint
from sslm_platform.train.model import load_trained

FIND, CHOOSE = "find@home", "choose@home"
PLACES = {"A": "0", "B": "1", "C": "2"}
TASKS = [
    {
        "name": "find",
        "fields": {"text": "question", "answer": "reply", "negatives": "distractors"},
        "objective": {"name": "multiple_negatives"},
        "head": {"name": "bi_encoder"},
        "metrics": ["mrr", "recall_at_1", "ndcg_at_10"],
    },
    {
        "name": "choose",
        "fields": {"text": "question", "candidates": "options", "choice": {"column": "right", "map": PLACES}},
        "objective": {"name": "choice_cross_entropy"},
        "head": {"name": "choice_scorer"},
        "metrics": ["accuracy", "mrr"],
    },
]
THINGS = ("hat", "car", "door", "lamp", "wall", "boat", "shoe", "cup", "desk", "ring", "coat", "bag")


def rows(num=240):
    rng = np.random.default_rng(0)
    for number in range(num):
        thing = THINGS[number % 12]
        question = f"{rng.choice(['where is', 'who saw'])} the {thing} {rng.integers(30)}"
        reply = f"the {thing} is {rng.choice(['here', 'gone', 'mine'])}"
        right = int(rng.integers(3))
        options = [f"{'yes' if i == right else 'no'} the {rng.choice(THINGS)}" for i in range(3)]
        yield {"question": question, "reply": reply, "options": options, "right": "ABC"[right]}


@pytest.fixture(scope="module")
def trained(make_specs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranking")
    specs = make_specs(folder)
    lines = "".join(json.dumps(row) + "\n" for row in rows())
    (folder / "replies.jsonl").write_text(lines, encoding="utf-8")
    stream = {
        "name": "replies",
        "domain": "home",
        "data": {"source": "files", "path": str(folder / "replies.jsonl"), "format": {"name": "jsonl"}},
        "split": {"by": "hash"},
        "distractors": {"of": "reply", "to": "question", "number": 2},
        "tasks": TASKS,
    }
    schedule = {"tokens_per_batch": 600, "max_steps": 100, "sampler": {"name": "round_robin"}}
    corpus, run = specs.corpus(specs.content(streams=[stream], schedule=schedule)), RunFolder(folder / "run")
    train_joint(corpus, run, Console(quiet=True), 1, corpus.run.spec.engine)
    return corpus, run


def model_of(trained, task):
    corpus, run = trained
    model = load_trained(corpus, [corpus.run.tasks[task]], run.model)
    model.encoder.eval()
    model.heads[corpus.run.tasks[task].head_key].eval()
    return model, corpus.task_feed(corpus.run.tasks[task], 3).splits["test"]


def test_what_answers_is_found_and_chosen(trained):
    scores = {s["task"]: s for s in json.loads(trained[1].scores.read_text(encoding="utf-8"))["scores"]}
    for task, metric in ((FIND, "mrr"), (CHOOSE, "accuracy")):
        assert scores[task]["scores"][metric]["value"] > scores[task]["majority"][metric]["value"] + 0.2
    assert scores[CHOOSE]["majority"]["accuracy"]["value"] < 0.6


def test_a_split_is_ranked_as_one_by_one(trained):
    """Whatever batch a text was in: all its distinct candidates, each encoded alone, by the cosine."""
    model, split = model_of(trained, FIND)
    part, corpus = model.tasks[FIND], trained[0]
    outputs = outputs_of(model.encoder, {FIND: part})
    scored = score_feed(outputs, split, {FIND: part}, corpus.vocabulary.pad_id)[FIND]
    candidates = candidates_of(part.task, split)
    values = {name: split.values(FIND, name) for name in ("text", "answer", "negatives")}
    expected = {*values["answer"], *(text for own in values["negatives"] for text in own)}
    assert set(candidates.texts) == expected
    predictor = Predictor(corpus.run, trained[1].model, FIND)
    vectors = predictor._vectors([*values["text"], *candidates.texts])
    for row in (0, 5, 11):
        unit = [vectors[t] / np.linalg.norm(vectors[t]) for t in (values["text"][row], *candidates.texts)]
        cosine = np.array(unit[1:]) @ unit[0]
        found = cosine[scored.predictions[row]]
        assert sorted(scored.predictions[row]) == list(range(len(candidates.texts)))
        assert (np.diff(found) < 1e-5).all()
        same = [a for t, a in zip(values["text"], values["answer"], strict=True) if t == values["text"][row]]
        assert {candidates.texts[i] for i in scored.references[row]} == set(same)


def test_equal_scores_are_ordered_by_number():
    assert [o.tolist() for o in ordered(np.array([[0.5, 0.7, 0.5 + 1e-12]]))] == [[1, 0, 2]]


def test_the_constant_ranking_is_by_frequency_in_training(trained):
    model, split = model_of(trained, FIND)
    corpus = trained[0]
    train = corpus.task_feed(corpus.run.tasks[FIND], 3).splits["train"]
    scored = majority(model.tasks[FIND], train, split, corpus.vocabulary.pad_id)
    counts = train.values(FIND, "answer")
    texts = candidates_of(corpus.run.tasks[FIND], split).texts
    found = [counts.count(texts[i]) for i in scored.predictions[0]]
    assert found == sorted(found, reverse=True)
    assert all(np.array_equal(scored.predictions[0], other) for other in scored.predictions)


def test_answers_are_ranked_among_what_is_given_or_all_of_the_stream(trained):
    corpus, folder = trained
    run = Run(corpus.run, folder.root, corpus.cache, Console(quiet=True))
    pool = [f"the {thing} is here" for thing in THINGS]
    asked = [*(f"who saw the {thing} 4" for thing in THINGS), {"text": "where", "candidates": pool[:2]}]
    *answers, last = run.predict(asked, FIND, pool)
    assert {one["text"] for one in last["ranking"]} == set(pool[:2])
    for answer in answers:
        cosines = [one["cosine"] for one in answer["ranking"]]
        assert cosines == sorted(cosines, reverse=True)
    found = [thing in answer["ranking"][0]["text"] for thing, answer in zip(THINGS, answers, strict=True)]
    assert sum(found) >= 3, "chance is 1 of 12"
    (answer,) = run.predict(["where is the car 3"], FIND)
    assert len({one["text"] for one in answer["ranking"]}) == 10
    with pytest.raises(SslmError, match="candidates should be a list of texts"):
        run.predict(["where"], FIND, [])


def test_a_choice_says_which_and_how_sure(trained):
    predictor = Predictor(trained[0].run, trained[1].model, CHOOSE)
    (answer,) = predictor([{"text": "who saw the ring 7", "candidates": ["no the lamp", "yes the ring"]}])
    assert answer["choice"] == int(np.argmax(answer["probabilities"])) == 1
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-3)


def test_bi_encoder_calls_are_padded_apart(trained):
    model, split = model_of(trained, FIND)
    shapes = []

    def encode(*inputs):
        shapes.append(tuple(inputs[0].shape))
        return model.encoder(*inputs)

    with torch.no_grad():
        score_feed(outputs_of(encode, {FIND: model.tasks[FIND]}), split, {FIND: model.tasks[FIND]}, 0)
    texts, answers = shapes[0::2], shapes[1::2]
    assert sum(rows for rows, _ in answers) == 3 * sum(rows for rows, _ in texts) == 3 * len(split)
