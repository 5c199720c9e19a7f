"""A probe is the optimum of its formula: scikit-learn finds the same one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sslm_platform.scoring import score_metrics
from sslm_platform.train.model import add_heads, build_model
from sslm_platform.transfer.features import FeatureStore
from sslm_platform.transfer.probe import fit_probe, score_features

CPU = torch.device("cpu")


@pytest.fixture
def parts(specs, encoder_folder):
    """Return a function from the bins of the ratings to a classifier's model and its encoded splits."""

    def parts(bins):
        content = specs.content("films", encoder=encoder_folder, tasks={"task": "sentiment"})
        task = content["streams"][0]["tasks"][0]
        task["fields"]["label"] = {"column": "rating", "bins": bins}
        corpus = specs.corpus(content)
        given = corpus.run.tasks["sentiment@film"]
        built = build_model(corpus, [given], 1)
        model = built.tasks["sentiment@film"]
        splits = corpus.task_feed(given, 1).splits
        store = FeatureStore(corpus, built.encoder, CPU)
        features = {name: store.read(model, name, 1) for name in splits}
        return corpus, built, model, splits, features

    return parts


def rows(features):
    """Return features (N, D) and gold label ids (N,)."""
    return features.rows.numpy().astype(np.float64), features.batch.targets["labels"].numpy()


FOUR = {"a": (-3, -3), "b": (-2, -2), "c": (2, 2), "d": (3, 3)}
TWO = {"bad": (-3, -2), "good": (2, 3)}


@pytest.mark.parametrize("c", [0.1, 10.0])
@pytest.mark.parametrize(("bins", "factor"), [(FOUR, 1), (TWO, 2)])
def test_a_linear_probe_is_logistic_regression(parts, bins, factor, c):
    """Of two labels ours has two weight vectors, w and -w: its penalty is half that of scikit-learn's one."""
    _, _, model, _, features = parts(bins)
    probe = fit_probe([model], [features["train"]], [features["dev"]], [c])
    oracle = LogisticRegression(C=c * factor, tol=1e-8, max_iter=10_000).fit(*rows(features["train"]))
    x_ND, _ = rows(features["test"])
    with torch.no_grad():
        mine = torch.softmax(probe.head(torch.tensor(x_ND).float()), dim=-1).numpy()
    np.testing.assert_allclose(mine, oracle.predict_proba(x_ND), atol=1e-3)


def test_c_is_the_one_that_is_best_on_dev_and_the_strongest_penalty_of_equals(parts):
    _, _, model, _, features = parts(FOUR)
    grid = [1e-6, 0.1, 1.0, 10.0]

    def dev_score(c):
        probe = fit_probe([model], [features["train"]], [features["dev"]], [c])
        scored = score_features(model, features["dev"], probe.head)
        return score_metrics(model.task, scored, model.labels)["macro_f1"]

    scores = {c: dev_score(c) for c in grid}
    assert scores[1e-6] < max(scores.values())
    chosen = fit_probe([model], [features["train"]], [features["dev"]], grid[::-1]).inverse_l2
    assert chosen == min(c for c in grid if scores[c] == max(scores.values()))


def test_the_order_of_the_grid_and_the_first_weights_do_not_matter(parts):
    corpus, built, model, _, features = parts(FOUR)
    first = fit_probe([model], [features["train"]], [features["dev"]], [10.0]).head
    other = add_heads(corpus, built.encoder, [model.task], 99).tasks["sentiment@film"]
    second = fit_probe([other], [features["train"]], [features["dev"]], [0.1, 10.0]).head
    x_ND = torch.tensor(rows(features["test"])[0]).float()
    with torch.no_grad():
        mine, theirs = (torch.softmax(head(x_ND), dim=-1) for head in (first, second))
    torch.testing.assert_close(mine, theirs, atol=2e-3, rtol=0)


def test_the_encoder_is_left_as_it_was(parts):
    _, built, model, _, features = parts(TWO)
    before = {name: value.clone() for name, value in built.encoder.state_dict().items()}
    fit_probe([model], [features["train"]], [features["dev"]], [1.0])
    assert all(torch.equal(before[name], value) for name, value in built.encoder.state_dict().items())
    assert all(p.grad is None for p in built.encoder.parameters())


def test_features_are_scored_in_the_order_of_the_split(parts):
    _, _, model, splits, features = parts(FOUR)
    scored = score_features(model, features["test"], model.head.module)
    gold = [model.labels.index(label) for label in splits["test"].values("sentiment@film", "label")]
    assert scored.references == gold
    assert features["test"].num_examples == len(gold)
    assert features["test"].num_tokens == splits["test"].lengths_N.sum()
