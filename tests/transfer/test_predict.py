"""Predictions of a real run: against formulas on evidence made another way, never made twice, cheap."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from sslm_platform.evidence import Evidence, SourceOutputs, TargetFeatures
from sslm_platform.kinds import EvidenceKind
from sslm_platform.plugins import host
from sslm_platform.predict import Predictor
from sslm_platform.report.predictions import read_predictions
from sslm_platform.runs import open_run
from sslm_platform.train.folder import RunFolder
from sslm_platform.transfer.evidence import EvidenceRoom
from sslm_platform.transfer.predict import plan_predictions, predict_transfer, questions
from sslm_platform.transfer.runner import open_lab

EXAMPLES = 40
QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def content(make_specs, encoder_folder, tmp_path_factory):
    """A spec with two kinds of sources, tags, values and masked words."""
    made = make_specs(tmp_path_factory.mktemp("predict"))
    content = made.content(
        encoder=encoder_folder,
        schedule={"tokens_per_batch": 160, "slots_per_step": 3, "max_steps": 8,
                  "sampler": {"name": "uniform"}},
        balancer={"name": "equal", "log_affinity_every": 1, "log_gradients_every": 2, "scope": "all"},
        prediction={"examples": EXAMPLES, "gradient_examples": 6},
        transfer=[
            {
                "source_stage": "full",
                "target_stage": "probe",
                "sources": [{"task": ["sentiment", "names", "fits"]},
                            {"task": ["sentiment", "mlm"], "by": "domain"}],
                "targets": {"task": ["sentiment", "names", "fits", "rating"]},
            }
        ],
    )  # fmt: skip
    return made, content


@pytest.fixture(scope="module")
def finished_run(content, texts, tmp_path_factory):
    """The run, trained, measured and predicted."""
    made, spec = content
    run = open_run(
        made.write(spec), out=tmp_path_factory.mktemp("run") / "run", cache=texts / "cache", console=QUIET
    )
    run.train()
    run.transfer()
    run.predict_transfer()
    return run


@pytest.fixture(scope="module")
def predictions(finished_run):
    return {(p.estimator, p.source, p.target): p for p in read_predictions(finished_run.path / "transfer")}


def test_every_pair_has_a_value_or_a_reason(finished_run, predictions):
    names = {name for name, _, _ in predictions}
    assert names == set(host().registry.estimators)
    pairs = [(q.source, q.target.identity) for q in questions(finished_run.corpus)]
    assert len(predictions) == len(names) * len(pairs)
    assert all(target not in source.identities for source, target in pairs)
    failed = [p for p in predictions.values() if p.status == "failed"]
    assert not failed, failed[0].reason
    done = {name for (name, _, _), p in predictions.items() if p.status == "done"}
    assert done == names
    for p in predictions.values():
        assert (p.value is None) == (p.status == "undefined") == bool(p.reason)


@pytest.mark.parametrize(
    ("estimator", "source", "target", "reason"),
    [
        ("leep", "names@news", "rating@film", "leep does not score sequence_values"),
        ("leep", "names@news", "fits@quiz", "the source has no head of sequence_logits"),
        ("label_embedding", "names@news", "fits@quiz", "fewer than two labels"),
        ("gradient_cosine", "mlm@film", "fits@quiz", "mlm@film: a head tied to the embedding has no probe"),
        ("logme", "rating@film", "fits@quiz", "no transfer block of the spec trains this source"),
    ],
)
def test_what_cannot_be_scored_says_why(predictions, estimator, source, target, reason):
    assert reason in predictions[estimator, source, target].reason


def test_features_and_answers_are_those_of_the_trained_source(finished_run, predictions):
    """The source's saved model, asked text by text, gives LEEP and the label's ids that were recorded."""
    corpus = finished_run.corpus
    task = corpus.run.tasks["sentiment@shop"]
    train = corpus.task_feed(task, corpus.run.spec.seed).splits["train"]
    part = train.take(np.argsort(train.keys_N)[:EXAMPLES])
    found = predictions["leep", "sentiment@film", "sentiment@shop"]
    model = finished_run.path / "transfer" / "trainings" / found.training / "model"
    answers = Predictor(corpus.run, model, "sentiment@shop")(part.values(task.identity, "text"))
    labels = corpus.labels([task])
    theta = np.array([[a["probabilities"][label] for label in labels] for a in answers])
    gold = np.array([labels.index(label) for label in part.values(task.identity, "label")])
    leep = host().registry.estimators.get("leep").definition.build(None)
    expected = leep.score(Evidence(outputs=SourceOutputs(theta, gold, len(labels))))
    assert found.value == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def room(finished_run):
    lab = open_lab(finished_run.corpus, RunFolder(finished_run.path), QUIET)
    return EvidenceRoom(lab, EXAMPLES, 6, may_train=False)


@pytest.fixture(scope="module")
def ask(finished_run, room):
    asked = {(q.source.name, q.target.identity): q for q in questions(finished_run.corpus)}
    return lambda kind, source, target: room.evidence({kind}, asked[source, target])[0]


def test_features_of_tags_are_words_and_of_values_floats(ask, finished_run):
    words = ask(EvidenceKind.FEATURES, "sentiment@film", "names@news").features
    assert words.rows_ND.shape[0] == len(words.targets_N) > 5 * EXAMPLES
    assert len(np.unique(words.targets_N)) == 4  # no I-LOC in the texts
    assert words.num_labels == 5
    values = ask(EvidenceKind.FEATURES, "sentiment@shop", "rating@film").features
    assert values.num_labels == 0
    assert values.rows_ND.shape == (EXAMPLES, 32)
    assert set(np.abs(values.targets_N)) == {2.0, 3.0}
    assert isinstance(values, TargetFeatures)
    assert values.rows_ND.dtype == np.float64


def test_texts_do_not_depend_on_their_batch_nor_on_masks(ask, room, finished_run):
    """A masked-word task's texts are the whole texts, each the mean of its own tokens' states."""
    plain = ask(EvidenceKind.TEXTS, "sentiment@film", "names@news").texts.source
    masked = ask(EvidenceKind.TEXTS, "names@news", "mlm@film").texts.target
    assert plain.names == ("negative", "positive")
    assert masked.names == ()
    np.testing.assert_allclose(plain.vectors_ND, masked.vectors_ND, atol=1e-5)  # one text, two tasks
    corpus, encoder = finished_run.corpus, room._pretrained.encoder
    task = corpus.run.tasks["sentiment@film"]
    train = corpus.task_feed(task, corpus.run.spec.seed).splits["train"]
    row = int(np.argsort(train.keys_N)[3])
    (example,) = train.encoded(task.identity, [row], plain.names)
    ids = torch.from_numpy(example.input_ids_L)[None]
    with torch.no_grad():
        hidden, _ = encoder(ids, torch.ones_like(ids))
    np.testing.assert_allclose(plain.vectors_ND[3], hidden[0].mean(dim=0).numpy(), atol=1e-5)
    assert plain.labels_N[3] == example.values["label"]


def test_texts_of_several_tasks_share_labels_by_name(ask):
    union = ask(EvidenceKind.TEXTS, "film (2 tasks)", "fits@quiz").texts.source
    assert union.names == ("negative", "positive")
    assert union.vectors_ND.shape == (2 * EXAMPLES, 32)
    assert np.count_nonzero(union.labels_N == -1) == EXAMPLES  # the masked words' texts


def test_the_gradient_is_the_mean_losss(ask, room, finished_run):
    """Against one backward of the whole batch's mean loss, under the same probe."""
    found = ask(EvidenceKind.GRADIENTS, "names@news", "sentiment@film").gradients.target
    from sslm_platform.evaluate import make_batch, outputs_of
    from sslm_platform.model.multitask import TaskHead
    from sslm_platform.train.model import add_heads

    corpus, encoder = finished_run.corpus, room._pretrained.encoder
    task, seed = corpus.run.tasks["sentiment@film"], corpus.run.spec.seed
    model = add_heads(corpus, encoder, [task], seed).tasks[task.identity]
    head = room._pretrained._heads.fit([model], seed).head
    object.__setattr__(model, "head", TaskHead(head, False))
    train = corpus.task_feed(task, seed).splits["train"]
    part = train.take(np.argsort(train.keys_N)[:6])
    batch = make_batch(part, np.arange(6), {task.identity: model}, corpus.vocabulary.pad_id, 0, 0)
    outputs = outputs_of(encoder, {task.identity: model})(batch)[task.identity]
    loss = model.objective.losses(outputs, batch.tasks[task.identity].targets, 6).mean()
    encoder.zero_grad()
    loss.backward()
    flat = [p.grad.flatten() for n, p in encoder.named_parameters()
            if p.grad is not None and "embeddings.weight" not in n and "_embeddings." not in n]  # fmt: skip
    grads = torch.cat(flat).numpy()
    nonzero = found.mean_P[found.mean_P != 0]
    assert np.linalg.norm(nonzero) == pytest.approx(np.linalg.norm(grads), rel=1e-4)
    assert np.sort(np.abs(nonzero))[-50:] == pytest.approx(np.sort(np.abs(grads))[-50:], rel=1e-3)
    assert (found.fisher_P >= 0).all()
    assert found.fisher_P.sum() >= (found.mean_P**2).sum() - 1e-9  # Jensen


def test_the_joint_runs_log_is_read_by_pair(ask, finished_run):
    lines = [
        json.loads(line) for line in (finished_run.path / "train" / "metrics.jsonl").read_text().splitlines()
    ]
    steps = [line for line in lines if line["kind"] == "step"]
    a, b = "names@news", "sentiment@film"
    expected = [s["affinities"][a][b] for s in steps if b in s["affinities"].get(a, {})]
    log = ask(EvidenceKind.LOG, a, b).log
    assert log.affinities == pytest.approx(expected)
    assert expected
    together = [s for s in steps if s["gradients"] and {a, b} <= set(s["gradients"]["norms"])]
    assert len(log.cosines) == len(together)


def test_nothing_is_predicted_twice(finished_run, monkeypatch):
    folder = finished_run.path / "transfer" / "predictions"

    def is_done(forecast):
        return json.loads((folder / f"{forecast.id}.json").read_text())["status"] == "done"

    def fail(*args):
        raise AssertionError("evidence is made again")

    done = [forecast for forecast in plan_predictions(finished_run.corpus) if is_done(forecast)]
    assert len(done) > 100
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    monkeypatch.setattr(EvidenceRoom, "_piece", fail)
    lab = open_lab(finished_run.corpus, RunFolder(finished_run.path), QUIET)
    assert all(p.status == "done" for p in predict_transfer(lab, done, may_train=False))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_evidence_is_shared_and_paid_once(predictions):
    of_features = [p for (name, source, target), p in predictions.items()
                   if (source, target) == ("sentiment@film", "names@news")
                   and name in ("logme", "h_score", "n_leep", "transrate")]  # fmt: skip
    assert len(of_features) == 4
    assert all(p.evidence == of_features[0].evidence for p in of_features)
    assert {key.split(":")[0] for key in of_features[0].evidence} == {"model", "features"}


def test_a_new_domain_changes_no_other_prediction(content):
    """Only what the joint training noted depends on all of its tasks."""
    made, spec = content

    def ids(spec):
        forecasts = plan_predictions(made.corpus(spec))
        return {f.id for f in forecasts if EvidenceKind.LOG not in f.estimator.definition.needs}

    fewer = json.loads(json.dumps(spec).replace(', "fits"', ""))
    fewer["streams"] = [s for s in fewer["streams"] if s["name"] != "pairs"]
    assert ids(fewer)
    assert ids(fewer) < ids(spec)


def test_sources_are_trained_on_request_alone(content, tmp_path, texts):
    made, spec = content
    small = json.loads(json.dumps(spec)) | {"prediction": {"estimators": ["logme"], "examples": 12}}
    small["streams"] = [s for s in small["streams"] if s["name"] in ("shops", "films")]
    small["transfer"] = [{"source_stage": "full", "target_stage": "probe", "sources": {"domain": "shop"},
                          "targets": {"task": "sentiment"}, "max_steps": 2}]  # fmt: skip
    folder = tmp_path / "run"
    run = open_run(made.write(small, "small.yaml"), out=folder, cache=texts / "cache", console=QUIET)

    def prediction(**options):
        pair = ("sentiment@shop", "sentiment@film")
        return next(p for p in run.predict_transfer(**options) if p.pair == pair)

    first = prediction()
    assert (first.status, "--train" in first.reason) == ("undefined", True)
    assert not (folder / "transfer" / "trainings").exists()
    then = prediction(may_train=True)
    assert then.status == "done"
    assert (folder / "transfer" / "trainings" / then.training / "model").is_dir()


def test_the_command_line_predicts_groups_runs_and_checks(finished_run, texts, tmp_path, cli):
    path, cache = finished_run.path, texts / "cache"
    before = (path / "spec.yaml").read_text()
    names = ("--estimators", "logme,gradient_cosine")
    status, out, err = cli("transfer", "predict", path, "--cache", cache, *names)
    assert status == 0, err
    assert (path / "spec.yaml").read_text() == before
    assert "Predicted against measured: full/probe" in out
    assert "Kendall τ" in out
    assert "leep" not in out
    spec = tmp_path / "groups.yaml"
    status, out, err = cli("transfer", "group", path, "--groups", 2, "--by", "tag_affinity", "--out", spec)
    assert status == 0, err
    assert f"sslm run {spec}" in out
    groups = json.loads(spec.with_suffix(".json").read_text())
    assert set(groups["serves"]) == set(finished_run.corpus.run.tasks)
    run = tmp_path / "run"
    status, out, err = cli("transfer", "group", path, "--check", spec.with_suffix(".json"))
    assert status == 2
    assert "run the grouping's spec" in err
    status, out, err = cli("run", spec, "--out", run, "--cache", cache)
    assert status == 0, err
    status, out, err = cli("transfer", "group", run, "--check", spec.with_suffix(".json"))
    assert status == 0, err
    assert "What came true" in out
    assert all(task in out for task in groups["serves"])


def test_predictions_of_an_earlier_spec_are_not_read(finished_run):
    """Their records stay, for the day that the spec is as it was."""
    path = finished_run.path / "transfer" / "predictions.json"
    current = read_predictions(finished_run.path / "transfer")
    ids = json.loads(path.read_text())
    assert {p.id for p in current} == set(ids["ids"])
    before = path.read_text()
    path.write_text(json.dumps(ids | {"ids": ids["ids"][:5]}))
    assert len(read_predictions(finished_run.path / "transfer")) == 5
    path.write_text(before)


def test_unknown_estimators_are_said(finished_run, cli):
    status, _, err = cli("transfer", "predict", finished_run.path, "--estimators", "logmee")
    assert status == 2
    assert "unknown estimator 'logmee'; did you mean logme?" in err
