"""Each formula against published figures, and against another way to compute it."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris

from sslm_platform.api import (
    Evidence,
    JointLog,
    Pair,
    SourceOutputs,
    TargetFeatures,
    TaskGradient,
    TaskTexts,
    UndefinedError,
)
from sslm_platform.plugins import host


def score(name, evidence, **options):
    definition = host().registry.estimators.get(name).definition
    return definition.build(definition.options(**options)).score(evidence)


def features(rows, targets, num_labels=None):
    targets = np.asarray(targets)
    labels = 0 if targets.dtype.kind == "f" else num_labels or int(targets.max()) + 1
    return Evidence(features=TargetFeatures(np.asarray(rows, np.float64), targets, labels))


def outputs(probabilities, targets):
    return Evidence(outputs=SourceOutputs(np.array(probabilities), np.array(targets), max(targets) + 1))


def gradients(source, target):
    made = [TaskGradient(np.array(v, np.float32), np.square(v, dtype=np.float32)) for v in (source, target)]
    return Evidence(gradients=Pair(*made))


@pytest.fixture(scope="module")
def iris():
    return features(*load_iris(return_X_y=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [("logme", -0.160060), ("h_score", 1.191899), ("h_score_shrunk", 1.177842), ("transrate", 0.589405)],
)
def test_iris(iris, name, value):
    assert score(name, iris) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("targets", "value"), [([0, 0, 1, 1], -0.383981), ([0, 1, 0, 1], -0.684900)])
def test_leep_of_four_rows(targets, value):
    theta = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]]
    assert score("leep", outputs(theta, targets)) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("shape", [(40, 5), (25, 60)])
def test_logme_is_the_maximum_of_the_marginal_likelihood(shape):
    """y ~ N(0, I / beta + F F' / alpha), its density by scipy, its maximum by a general optimiser."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=shape)
    values = rows[:, 0] + 0.5 * rng.normal(size=shape[0])

    def negative(logs):
        alpha, beta = np.exp(logs)
        covariance = np.eye(len(rows)) / beta + rows @ rows.T / alpha
        return -multivariate_normal(np.zeros(len(rows)), covariance).logpdf(values) / len(rows)

    best = min(minimize(negative, start, method="Nelder-Mead").fun for start in ([0, 0], [2, 2], [-2, 2]))
    assert score("logme", features(rows, values)) == pytest.approx(-best, abs=2e-4)


def test_logme_of_labels_is_the_mean_over_columns(iris):
    f = iris.features
    columns = [score("logme", features(f.rows_ND, (f.targets_N == y).astype(float))) for y in range(3)]
    assert score("logme", iris) == pytest.approx(np.mean(columns))


def test_logme_of_values_without_error_is_finite():
    rows = np.random.default_rng(0).normal(size=(20, 3))
    assert math.isfinite(score("logme", features(rows, rows @ np.ones(3))))


def test_h_score_is_the_sum_of_squared_canonical_correlations(iris):
    f = iris.features
    basis, _ = np.linalg.qr(f.rows_ND - f.rows_ND.mean(axis=0))
    labels = np.eye(3)[f.targets_N]
    left, s, _ = np.linalg.svd(labels - labels.mean(axis=0), full_matrices=False)
    correlations = np.linalg.svd(basis.T @ left[:, s > 1e-9], compute_uv=False)
    assert score("h_score", iris) == pytest.approx(np.sum(correlations**2))


def test_h_score_of_one_column_is_the_correlation_ratio():
    rng = np.random.default_rng(5)
    rows, labels = rng.normal(size=(30, 1)), rng.integers(3, size=30)
    means = np.array([rows[labels == y].mean() for y in range(3)])[labels]
    assert score("h_score", features(rows, labels)) == pytest.approx(np.var(means) / np.var(rows))


def test_leep_by_loops():
    rng = np.random.default_rng(1)
    theta, y = rng.dirichlet(np.ones(4), size=30), rng.integers(3, size=30).tolist()
    joint = {
        (a, z): sum(theta[i][z] for i in range(30) if y[i] == a) / 30 for a in range(3) for z in range(4)
    }
    marginal = [sum(joint[a, z] for a in range(3)) for z in range(4)]
    terms = [math.log(sum(theta[i][z] * joint[y[i], z] / marginal[z] for z in range(4))) for i in range(30)]
    assert score("leep", outputs(theta, y)) == pytest.approx(sum(terms) / 30)


def test_leep_ignores_a_label_that_the_source_never_gives():
    theta = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]])
    padded = np.column_stack([theta, np.zeros(4)])
    assert score("leep", outputs(padded, [0, 1, 0, 1])) == pytest.approx(
        score("leep", outputs(theta, [0, 1, 0, 1]))
    )


def test_leep_of_answers_that_say_nothing_is_the_labels_entropy():
    assert score("leep", outputs(np.full((4, 2), 0.5), [0, 1, 1, 1])) == pytest.approx(
        (math.log(0.25) + 3 * math.log(0.75)) / 4
    )


@pytest.mark.parametrize("shape", [(40, 3), (12, 30)])
def test_transrate_by_eigenvalues(shape):
    """Unequal classes: each rate weighs as its rows."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=shape)
    labels = np.array([0] * (shape[0] // 4) + [1] * (shape[0] - shape[0] // 4))

    def rate(part):
        eigenvalues = np.linalg.svd(part, compute_uv=False) ** 2
        return 0.5 * np.log1p(eigenvalues / (len(part) * 0.01)).sum()

    centred = rows - rows.mean(axis=0)
    expected = rate(centred) - sum(np.mean(labels == y) * rate(centred[labels == y]) for y in (0, 1))
    assert score("transrate", features(rows, labels), distortion=0.01) == pytest.approx(expected)


def test_n_leep_of_separate_clusters_is_0_and_of_random_labels_the_entropy():
    rng = np.random.default_rng(4)
    labels = np.arange(300) % 3
    rows = 20.0 * np.eye(3)[labels] + rng.normal(size=(300, 3))
    assert score("n_leep", features(rows, labels)) == pytest.approx(0.0, abs=1e-6)
    assert score("n_leep", features(rows, rng.permutation(labels))) == pytest.approx(-math.log(3), abs=0.1)


def test_n_leep_is_leep_of_the_mixtures_posterior():
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(6)
    rows, labels = rng.normal(size=(80, 4)), rng.integers(2, size=80)
    rows = rows[np.lexsort(rows.T)]
    reduced = PCA(0.9).fit_transform(rows)
    theta = GaussianMixture(4, covariance_type="diag", random_state=0).fit(reduced).predict_proba(reduced)
    found = score("n_leep", features(rows, labels), energy=0.9, components_per_label=2)
    assert found == pytest.approx(score("leep", outputs(theta, labels.tolist())))


def texts(vectors, labels, names):
    return TaskTexts(np.array(vectors, float), np.array(labels), names)


def test_text_embedding_is_the_cosine_of_the_means():
    a = texts([[1, 0], [3, 0]], [-1, -1], ())
    b = texts([[1, 1], [1, 3], [1, 2]], [-1, -1, -1], ())
    assert score("text_embedding", Evidence(texts=Pair(a, b))) == pytest.approx(1 / math.sqrt(5))


def test_label_embedding_matches_by_name_and_else_takes_the_nearest():
    a = texts([[1, 5], [-1, 5]], [0, 1], ("good", "bad"))
    same = texts([[7, 7], [5, 7]], [1, 0], ("bad", "good"))
    flipped = texts([[7, 7], [5, 7]], [0, 1], ("bad", "good"))
    other = texts([[7, 7], [5, 7]], [0, 1], ("toxic", "fine"))
    values = [score("label_embedding", Evidence(texts=Pair(a, t))) for t in (same, flipped, other)]
    assert values == pytest.approx([1.0, -1.0, 1.0])


def test_label_embedding_needs_labels_on_both_sides():
    labelled = texts([[1, 5], [-1, 5]], [0, 1], ("good", "bad"))
    bare = texts([[1, 5], [-1, 5]], [-1, -1], ())
    with pytest.raises(UndefinedError, match="fewer than two labels"):
        score("label_embedding", Evidence(texts=Pair(bare, labelled)))


def test_gradient_cosines_of_the_fixture():
    pair = gradients([-4, 1, 1], [6, 1, 1])
    assert score("gradient_cosine", pair) == pytest.approx(-22 / math.sqrt(18 * 38))
    assert score("task_embedding", pair) == pytest.approx((16 * 36 + 2) / math.sqrt(258 * (36**2 + 2)))
    with pytest.raises(UndefinedError, match="zero"):
        score("gradient_cosine", gradients([0, 0], [1, 0]))


def test_the_joint_runs_figures_are_means():
    log = Evidence(log=JointLog((0.1, -0.3), (0.5, 0.0, 0.1)))
    assert score("tag_affinity", log) == pytest.approx(-0.1)
    assert score("joint_gradient_cosine", log) == pytest.approx(0.2)


@pytest.mark.parametrize(("name", "key"), [("tag_affinity", "log_affinity_every"),
                                           ("joint_gradient_cosine", "log_gradients_every")])  # fmt: skip
def test_a_joint_run_that_noted_nothing_says_what_to_set(name, key):
    with pytest.raises(UndefinedError, match=key):
        score(name, Evidence(log=JointLog((), ())))
