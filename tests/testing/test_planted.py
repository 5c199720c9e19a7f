"""The planted worlds: their truth against a learner that counts words, and the lab's matrices against it."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from sslm_platform.api import EstimatorDef, EvidenceKind, OutputKind
from sslm_platform.errors import PluginError
from sslm_platform.report.grouping import Affinities, affinities
from sslm_platform.report.matrix import build_matrix
from sslm_platform.report.predictions import PredictedMatrix
from sslm_platform.report.records import TransferPlan, read_cells, read_record
from sslm_platform.runs import open_run
from sslm_platform.testing import planted
from sslm_platform.testing.planted.world import LABELS, SYLLABLES, filler, spelled

SEEDS = (
    1,
    2,
    3,
    4,
    5,
)  # with fewer, tests are about the trained models, and each of those is a little biased
WORLDS = {"domains": planted.domains(), "tasks": planted.tasks()}
POLARITY = {label: sign for sign, label in LABELS.items()}


def learned(rows) -> dict[str, int]:
    """Return the words that had one label only, and often enough for that to be no accident."""
    counts = {sign: Counter() for sign in LABELS}
    for row in rows:
        counts[POLARITY[row["label"]]].update(row["text"].split())
    return {
        word: sign
        for sign in LABELS
        for word, count in counts[sign].items()
        if count >= 8 and not counts[-sign][word]
    }


def accuracy(known: dict[str, int], rows) -> float:
    """Let the known words vote; a tie is half right."""
    votes = [
        POLARITY[row["label"]] * np.sign(sum(known.get(w, 0) for w in row["text"].split())) for row in rows
    ]
    return float(np.mean(votes)) / 2 + 0.5


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_the_truth_is_what_a_learner_finds_that_counts_words(world):
    world = replace(world, sizes=(12_000, 2, 2_000))
    train = {task.identity: list(world.rows(task, "train")) for task in world.tasks}
    test = {task.identity: list(world.rows(task, "test")) for task in world.tasks}
    known = {name: learned(rows) for name, rows in train.items()}
    for (source, target), effect in world.effects.items():
        gain = accuracy(known[source], test[target]) - 0.5
        if world.target_stage == "probe":
            gain *= np.sign(accuracy(known[source], train[target]) - 0.5)
        assert gain == pytest.approx(effect, abs=0.04), f"{source} → {target}"


def test_effects_are_graded_by_what_is_shared():
    effects = planted.domains(per_group=3).effects
    assert effects["verdict@arts0", "verdict@arts1"] == pytest.approx((1 - 0.25**2) / 2, abs=1e-12)
    assert effects["verdict@arts0", "verdict@arts2"] == pytest.approx((1 - 0.5**2) / 2, abs=1e-12)
    assert effects["verdict@irony0", "verdict@arts0"] == -0.5
    assert effects["verdict@irony2", "verdict@arts1"] == effects["verdict@arts2", "verdict@irony1"] < 0
    assert effects["verdict@trades0", "verdict@arts0"] == 0


def test_only_the_pupil_has_something_to_gain():
    effects = WORLDS["tasks"].effects
    found = {pair: effect for pair, effect in effects.items() if effect}
    assert found == {("teacher@made", "pupil@made"): 0.5, ("contrary@made", "pupil@made"): -0.5}


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_texts_are_a_pure_function_of_the_seed_and_labels_are_balanced(world):
    for task in world.tasks:
        for split, size in zip(("train", "dev", "test"), world.sizes, strict=True):
            rows = list(world.rows(task, split))
            assert rows == list(world.rows(task, split))
            assert rows != list(replace(world, seed=1).rows(task, split))
            assert Counter(row["label"] for row in rows) == dict.fromkeys(POLARITY, size // 2)


def test_no_two_words_are_alike():
    words = [spelled(cue) for cue in range(len(SYLLABLES) ** 2)]
    fillers = [filler(number) for number in range(30)]
    assert len({*words, *fillers}) == len(words) + len(fillers)


@pytest.fixture(scope="module", params=WORLDS)
def measured(request, tmp_path_factory):
    """A world, its corpus, the matrix of gains, and the plan and records that it is made of."""
    world, folder = WORLDS[request.param], tmp_path_factory.mktemp(request.param)
    spec = planted.write_world(world, folder, SEEDS)
    run = open_run(spec, out=folder / "run", cache=folder / "cache", console=Console(file=io.StringIO()))
    run.transfer()
    transfer = run.path / "transfer"
    plan, cells = read_record(TransferPlan, transfer / "plan.json"), read_cells(transfer)
    matrix = build_matrix(plan, cells, protocol=world.protocol, value="gain", baseline=world.baseline)
    return world, run.corpus, matrix, plan, cells


@pytest.mark.slow
def test_the_lab_recovers_what_was_planted(measured):
    world, _, matrix, _, _ = measured
    found = planted.recovery(world, matrix)
    assert len(found.clear) >= 0.9 * (len(world.effects) - len(found.zeros))
    assert found.share_right >= 0.95
    assert len(found.claimed) <= 1, found.claimed
    assert found.error < 0.1


def test_another_truth_is_not_recovered(measured):
    """Had the generator turned the polarity of half of the tasks, the matrix would be found wrong."""
    world, _, matrix, _, _ = measured
    turned = [
        replace(task, asked={cue: -sign for cue, sign in task.asked.items()}) if number % 2 else task
        for number, task in enumerate(world.tasks)
    ]
    assert planted.recovery(replace(world, tasks=tuple(turned)), matrix).share_right < 0.95


def test_no_word_is_split_into_pieces(measured):
    world, corpus, _, _, _ = measured
    words = {spelled(cue) for task in world.tasks for cue in (*task.taught, *task.asked)}
    assert not [word for word in words if len(corpus.tokenizer.tokenize(word)) > 1]


def test_measured_groups_are_the_planted_ones(measured):
    world, corpus, _, plan, cells = measured
    known = affinities(world.protocol, {}, plan, cells, list(corpus.run.tasks))
    assert planted.finds_groups(world, known) in ({True} if len(world.groups) > 1 else {None})


def matrix_of(world, values, signed=True):
    names = tuple(task.identity for task in world.tasks)
    return PredictedMatrix("some", signed, names, names, values, {})


@pytest.mark.parametrize("world", [*WORLDS.values(), planted.domains(per_group=3)], ids=[*WORLDS, "more"])
def test_the_truth_scores_best_and_its_opposite_worst(world):
    best = planted.score_matrix(world, matrix_of(world, world.effects))
    assert best.kendall == pytest.approx(1.0)
    assert best.signs == 1.0
    assert best.groups in ({True} if len(world.groups) > 1 else {None})
    worst = planted.score_matrix(world, matrix_of(world, {p: -e for p, e in world.effects.items()}))
    assert worst.kendall == pytest.approx(-1.0)
    assert worst.signs == 0.0
    assert not worst.groups


def test_a_prediction_without_order_is_worth_nothing():
    world = WORLDS["domains"]
    found = planted.score_matrix(world, matrix_of(world, dict.fromkeys(world.effects, 0.3), signed=False))
    assert found.kendall == 0.0
    assert found.signs is None
    assert found.groups is False


def test_a_wrong_pair_is_no_group():
    world = WORLDS["domains"]
    names = tuple(task.identity for task in world.tasks)
    affinity_TT = np.zeros((len(names), len(names)))
    affinity_TT[0, 2] = affinity_TT[2, 0] = 1.0
    assert planted.finds_groups(world, Affinities("some", True, names, affinity_TT, ())) is False
    unknown = (names[:2],)
    assert planted.finds_groups(world, Affinities("some", True, names, affinity_TT, unknown)) is None


class Overlap:
    """Similarity of the tasks' label prototypes, taken as the cosine of their difference of labels."""

    def score(self, evidence):
        source, target = evidence.texts.source, evidence.texts.target
        a, b = (
            np.subtract(*(t.vectors_ND[t.labels_N == y].mean(axis=0) for y in (0, 1)))
            for t in (source, target)
        )
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_an_estimator_is_scored_with_one_call(tmp_path):
    """A definition that is installed nowhere: with the meaning of labels the groups are found, and signs."""
    overlap = EstimatorDef(
        "overlap",
        lambda options: Overlap(),
        frozenset({EvidenceKind.TEXTS}),
        frozenset({OutputKind.SEQUENCE_LOGITS}),
        signed=True,
    )
    found = planted.score(overlap, folder=tmp_path)
    assert found.estimator == "overlap"
    assert found.kendall > 0.6
    assert found.signs >= 0.9
    assert found.groups
    blind = planted.score("text_embedding", folder=tmp_path)  # sees the words, not what they mean
    assert blind.kendall < found.kendall
    assert not blind.groups


def test_an_unknown_estimator_is_named():
    with pytest.raises(PluginError, match="label_embeding"):
        planted.score("label_embeding")
