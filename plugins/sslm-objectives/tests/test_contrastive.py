"""Losses of the objectives that compare texts, against their formulas written out one pair at a time."""

import math

import numpy as np
import pytest
import torch
from sslm_objectives.contrastive.future import ContrastivePredictiveCoding, FutureRegression, narrowness
from sslm_objectives.contrastive.options import CpcOptions, FutureOptions, SimcseOptions
from sslm_objectives.contrastive.ranking import ChoiceCrossEntropy, MultipleNegatives
from sslm_objectives.contrastive.simcse import SimCSE

from sslm_platform.api import Encoded
from sslm_platform.testing import data

CLS, SEP = data.CLS_ID, data.SEP_ID


def text(*ids):
    tokens = np.array([CLS, *ids, SEP])
    return Encoded(tokens, np.isin(tokens, (CLS, SEP)), {}, np.zeros(len(tokens), dtype=np.int64))


def random_texts(num, length, seed=0):
    rng = np.random.default_rng(seed)
    return [text(*rng.integers(5, 40, size=length).tolist()) for _ in range(num)]


def collated(objective, examples):
    return objective.collate(examples, data.make_generators(len(examples)))


def vectors_for(batch, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(batch.targets["labels"]), 6, generator=generator)


def log_share(scores, positive):
    return math.log(sum(math.exp(s) for s in scores)) - scores[positive]


def test_simcse_is_the_ranking_loss_of_scaled_cosines():
    """As sentence-transformers' MultipleNegativesRankingLoss: cross entropy of 20 · cosine."""
    objective, examples = SimCSE(SimcseOptions()), random_texts(5, 4)
    batch = collated(objective, examples)
    vectors = vectors_for(batch)
    first, second = (torch.nn.functional.normalize(vectors[place::2], dim=1) for place in (0, 1))
    expected = [log_share((20 * second @ one).tolist(), i) for i, one in enumerate(first)]
    assert objective.losses(vectors, batch.targets, 5).tolist() == pytest.approx(expected, rel=1e-5)


def test_simcse_has_the_log_of_the_batch_where_nothing_is_known():
    objective, examples = SimCSE(SimcseOptions()), random_texts(7, 4)
    batch = collated(objective, examples)
    losses = objective.losses(torch.ones(14, 3), batch.targets, 7)
    assert losses.tolist() == pytest.approx([math.log(7)] * 7)


def test_a_text_that_occurs_twice_is_no_negative_of_itself():
    objective, (first, second) = SimCSE(SimcseOptions()), random_texts(2, 4)
    batch = collated(objective, [first, second, first])
    losses = objective.losses(torch.ones(6, 3), batch.targets, 3)
    assert losses.tolist() == pytest.approx([math.log(2), math.log(3), math.log(2)])


def test_the_second_reading_is_of_the_changed_text():
    changed = text(9, 8)
    example = Encoded(
        **{
            name: getattr(text(5, 6, 7), name) for name in ("input_ids_L", "special_L", "values", "segment_L")
        },
        variant=changed,
    )
    batch = collated(SimCSE(SimcseOptions()), [example])
    rows = np.split(batch.input_ids[0], batch.windows[0][1:])
    assert [row.tolist() for row in rows] == [[CLS, 5, 6, 7, SEP], [CLS, 9, 8, SEP]]
    assert batch.calls[0].tolist() == [0, 1]
    assert batch.targets["end"].tolist() == [4, 3]


def test_segments_are_about_equal_and_have_all_tokens():
    objective = ContrastivePredictiveCoding(CpcOptions(segment_tokens=4))
    for length, sizes in ((3, [3]), (7, [7]), (8, [4, 4]), (11, [6, 5]), (13, [4, 5, 4])):
        spans = objective.segments(text(*range(5, 5 + length)))
        assert sorted(end - start for start, end in spans) == sorted(sizes)
        assert [place for span in spans for place in range(*span)] == list(range(1, length + 1))


def test_contexts_end_where_their_segment_does_and_futures_are_read_alone():
    batch = collated(
        ContrastivePredictiveCoding(CpcOptions(segment_tokens=2, steps_ahead=2)), [text(*range(5, 11))]
    )
    rows = np.split(batch.input_ids[0], batch.windows[0][1:])
    assert [row.tolist() for row in rows[1:]] == [[CLS, 7, 8, SEP], [CLS, 9, 10, SEP]]
    assert batch.calls[0].tolist() == [0, 1, 1]
    found = zip(*(batch.targets[n].tolist() for n in ("row", "start", "end", "ahead", "labels")), strict=True)
    assert list(found) == [
        (1, 1, 3, 0, -1),
        (2, 1, 3, 0, -1),
        (0, 2, 3, 1, 0),
        (0, 2, 3, 2, 1),
        (0, 4, 5, 1, 1),
    ]
    assert batch.weight_B.tolist() == [3.0]


def test_cpc_is_the_log_share_of_the_right_future_among_all_of_the_batch():
    objective = ContrastivePredictiveCoding(CpcOptions(segment_tokens=2, steps_ahead=2))
    batch = collated(objective, [*random_texts(3, 7), text(5)])
    vectors, targets = vectors_for(batch).double(), batch.targets
    futures = [i for i, label in enumerate(targets["labels"].tolist()) if label < 0]
    expected = [0.0] * 4
    for i, label in enumerate(targets["labels"].tolist()):
        if label >= 0:
            scores = [float(vectors[i] @ vectors[j]) for j in futures]
            expected[int(targets["example"][i])] += log_share(scores, futures.index(label))
    assert objective.losses(vectors, targets, 4).tolist() == pytest.approx(expected, rel=1e-5)
    assert expected[3] == batch.weight_B[3] == 0


def test_a_first_token_has_seen_nothing_of_a_segment():
    from sslm_heads.options import EmbeddingOptions
    from sslm_objectives.contrastive.definitions import _check_steps

    assert not list(_check_steps(CpcOptions(), EmbeddingOptions(steps=3)))
    (problem,) = _check_steps(CpcOptions(), EmbeddingOptions(steps=3, pooling="cls"))
    assert "needs the head's pooling mean" in problem.what


def test_a_future_is_regressed_in_standard_deviations():
    objective = FutureRegression(FutureOptions(segment_tokens=2, variance_weight=0.5, covariance_weight=0.1))
    batch = collated(objective, random_texts(4, 6))
    vectors, labels = vectors_for(batch).requires_grad_(), batch.targets["labels"].numpy()
    state = vectors.detach().numpy()
    future = state[labels < 0]
    wanted = (state - future.mean(0)) / future.std(0)
    unit = future / np.linalg.norm(future, axis=1, keepdims=True)
    spread = np.maximum(0, 1 - np.sqrt(unit.var(0) * 6 + 1e-4)).mean()
    correlation = np.corrcoef(future.T)
    redundant = (correlation**2).sum() / 6 - 1
    expected = np.zeros((2, 4))
    for i in np.flatnonzero(labels >= 0):
        error = ((state[i] - wanted[labels[i]]) ** 2).mean() + 0.5 * spread
        expected[:, batch.targets["example"][i]] += error, error + 0.1 * redundant
    losses = objective.losses(vectors, batch.targets, 4)
    assert objective.score_losses(vectors, batch.targets, 4).detach().numpy() == pytest.approx(
        expected[0], rel=1e-3
    )
    assert losses.detach().numpy() == pytest.approx(expected[1], rel=1e-3)
    (gradient,) = torch.autograd.grad(losses.sum(), vectors)
    assert gradient.any(dim=1).all(), "what is predicted learns, too"


def test_collapsed_states_cost_more_than_spread_ones():
    spread = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    assert narrowness(spread) < 0.05
    assert narrowness(torch.ones(500, 6)) == pytest.approx(0.99)
    assert 0.4 < narrowness(spread * torch.tensor([1.0, 1, 1, 0, 0, 0])) < 0.6


def several(*texts, choice=0):
    parts = [text(*ids) for ids in texts]
    sizes = [len(part.input_ids_L) for part in parts]
    ids_L, special_L = (np.concatenate([getattr(p, n) for p in parts]) for n in ("input_ids_L", "special_L"))
    return Encoded(ids_L, special_L, {"choice": choice}, window_S=np.cumsum([0, *sizes[:-1]]))


def test_an_answer_is_told_from_all_other_answers_and_hard_negatives():
    """As MultipleNegativesRankingLoss with hard negatives: the candidates are all of the batch's."""
    objective = MultipleNegatives(SimcseOptions())
    batch = collated(
        objective, [several([5, 6], [7], [8]), several([9], [10, 11], [12], [13]), several([14], [15])]
    )
    vectors = vectors_for(batch)
    unit = torch.nn.functional.normalize(vectors, dim=1)
    texts, answers = [0, 3, 7], [1, 4, 8]
    candidates = [i for i in range(9) if i not in texts]
    expected = [
        log_share((20 * unit[candidates] @ unit[one]).tolist(), candidates.index(answer))
        for one, answer in zip(texts, answers, strict=True)
    ]
    assert objective.losses(vectors, batch.targets, 3).tolist() == pytest.approx(expected, rel=1e-5)
    assert [calls.tolist() for calls in batch.calls] == [[0, 1, 1], [0, 1, 1, 1], [0, 1]]


def test_equal_answers_and_answers_to_the_same_question_are_no_negatives():
    objective = MultipleNegatives(SimcseOptions())
    equal_answer, same_question = (
        [several([5], [7]), several([6], [7])],
        [several([5], [7]), several([5], [8])],
    )
    other = several([9], [10])
    for pair in (equal_answer, same_question):
        batch = collated(objective, [*pair, other])
        losses = objective.losses(torch.ones(6, 2), batch.targets, 3)
        assert losses.tolist() == pytest.approx([math.log(2), math.log(2), math.log(3)])


def test_a_hard_negative_of_the_same_question_stays_one():
    objective = MultipleNegatives(SimcseOptions())
    batch = collated(objective, [several([5], [7], [8])])
    assert objective.losses(torch.ones(3, 2), batch.targets, 1).item() == pytest.approx(math.log(2))


def test_a_choice_is_a_softmax_over_own_candidates():
    objective = ChoiceCrossEntropy()
    batch = collated(objective, [several([5], [6], [7], choice=2), several([8], [9], choice=0)])
    logits = torch.tensor([0.3, -1.0, 2.0, 0.5, 0.1], dtype=torch.float64)
    expected = [log_share([0.3, -1.0, 2.0], 2), log_share([0.5, 0.1], 0)]
    assert objective.losses(logits, batch.targets, 2).tolist() == pytest.approx(expected, rel=1e-6)
    assert batch.targets["row"].tolist() == [0, 1, 2, 3, 4]
