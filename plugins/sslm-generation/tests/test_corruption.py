"""Span corruption against T5's published rules, BART's noise against the distributions that it names."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sslm_generation.denoising import Denoising
from sslm_generation.options import DenoisingOptions, SpanCorruptionOptions
from sslm_generation.span_corruption import SpanCorruption, segments, sentinels_of

from sslm_platform.api import Encoded, ObjectiveContext, OutputKind, PluginError, Vocabulary

PAD, UNKNOWN, CLS, SEP, MASK, STOP = range(6)
WORDS = tuple(f"w{i}" for i in range(200))
SENTINELS = tuple(f"<extra_id_{i}>" for i in reversed(range(100)))  # T5 numbers them downwards
TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS, *SENTINELS)
SPECIAL = frozenset(range(5)) | frozenset(range(206, 306))
VOCABULARY = Vocabulary(len(TOKENS), PAD, MASK, SPECIAL, TOKENS)


class Codec:
    size, pad_id, start_id, end_id = len(TOKENS), PAD, CLS, SEP


CONTEXT = ObjectiveContext(OutputKind.GENERATED_TEXT, VOCABULARY, tokenizer=Codec())


def encoded(text):
    ids = np.array([CLS, *text, SEP])
    return Encoded(ids, np.isin(ids, [CLS, SEP]), {})


def words(num, seed=0):
    return np.random.default_rng(seed).integers(6, 206, num)


def spans(**options):
    return SpanCorruption(SpanCorruptionOptions(**options), CONTEXT)


def noise(**options):
    return Denoising(DenoisingOptions(**options), CONTEXT)


def runs(mask_T):
    """Lengths of the runs of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask_T.astype(int), [0]])))
    return edges[1::2] - edges[::2]


@given(st.integers(2, 500), st.floats(0.05, 0.6), st.floats(1, 6), st.integers(0, 10**6))
def test_noise_has_the_number_of_tokens_and_spans_that_t5_says(num, density, mean, seed):
    """``random_spans_noise_mask`` of t5.data.preprocessors."""
    objective = spans(noise_density=density, mean_span=mean, roll=False)
    mask_T = objective.noise(num, np.random.default_rng(seed))
    rolled_T = spans(noise_density=density, mean_span=mean).noise(num, np.random.default_rng(seed))
    assert rolled_T.sum() == mask_T.sum()
    assert abs(len(runs(rolled_T)) - len(runs(mask_T))) <= 1
    num_noise = min(max(round(num * density), 1), num - 1)
    num_spans = max(1, min(round(num_noise / mean), num_noise, num - num_noise, 100))  # sentinels
    assert len(mask_T) == num
    assert mask_T.sum() == num_noise
    assert len(runs(mask_T)) == num_spans
    assert not mask_T[0]
    assert mask_T[-1]


def test_a_short_text_need_not_lose_its_end():
    masks = [spans().noise(20, np.random.default_rng(seed)) for seed in range(2000)]
    share_T = np.mean(masks, axis=0)  # three of twenty tokens each time, in one span
    assert np.abs(share_T - 3 / 20).max() < 4.5 * math.sqrt(0.15 * 0.85 / 2000)
    assert all(not spans(roll=False).noise(20, np.random.default_rng(seed))[:17].any() for seed in range(9))


def test_all_ways_to_cut_are_equally_likely():
    counts = {}
    for seed in range(6000):
        cut = tuple(segments(6, 3, np.random.default_rng(seed)).tolist())
        counts[cut] = counts.get(cut, 0) + 1
    assert len(counts) == math.comb(5, 2)
    assert min(counts.values()) > 600 - 4 * math.sqrt(6000 * 0.1 * 0.9)
    assert max(counts.values()) < 600 + 4 * math.sqrt(6000 * 0.1 * 0.9)


def filled(shown, target, sentinels):
    """Put each span of a target where its sentinel stands: what a reader of both would do."""
    parts, current = {}, None
    for token in target:
        if token in sentinels:
            current = parts.setdefault(token, [])
        else:
            current.append(token)
    return [t for token in shown for t in (parts[token] if token in sentinels else [token])]


@given(st.integers(0, 60), st.integers(0, 10**6), st.floats(0.05, 0.9), st.floats(1, 5))
def test_input_and_target_give_the_text_back(num, seed, density, mean):
    text, example = words(num, seed).tolist(), encoded(words(num, seed))
    objective = spans(noise_density=density, mean_span=mean)
    batch = objective.collate([example], [np.random.default_rng(seed)])
    target = batch.targets["labels"].tolist()
    (shown,) = batch.input_ids
    assert len(shown) <= len(example.input_ids_L)
    assert shown[0] == CLS
    assert shown[-1] == SEP
    assert batch.weight_B.tolist() == [len(target)]
    if num < 2:
        assert not target
        assert shown.tolist() == [CLS, *text, SEP]
        return
    assert target.pop() == SEP
    sentinels = sentinels_of(VOCABULARY).tolist()
    used = [token for token in target if token in sentinels]
    assert used == sentinels[: len(used)]
    assert used == [token for token in shown if token in sentinels]
    assert filled(shown[1:-1].tolist(), target, sentinels) == text


def test_the_papers_figure():
    """Figure 2: `inviting` and `last` left out of a sentence of ten tokens."""
    text = np.arange(10, 20)
    hidden = np.isin(text, [12, 13, 18])
    objective = spans()
    first, second, *_ = sentinels_of(VOCABULARY)
    shown, target = objective.shown(text, hidden), objective.target(text, hidden)
    assert shown.tolist() == [10, 11, first, 14, 15, 16, 17, second, 19]
    assert target.tolist() == [first, 12, 13, second, 18, SEP]


def test_the_first_sentinel_is_t5s_first_or_berts_first_spare_token():
    assert TOKENS[sentinels_of(VOCABULARY)[0]] == "<extra_id_0>"
    bert = Vocabulary(5, 0, None, frozenset({0}), ("[PAD]", "[unused1]", "[unused0]", "a", "[unused10]"))
    assert sentinels_of(bert).tolist() == [2, 1, 4]
    with pytest.raises(PluginError, match=r"give one from scratch some with encoder\.tokenizer\.sentinels"):
        sentinels_of(Vocabulary(2, 0, None, frozenset({0}), ("[PAD]", "a")))


@pytest.mark.parametrize("objective", [spans(), noise(), noise(delete=0.2)], ids=["spans", "bart", "delete"])
def test_the_same_seed_gives_the_same_noise_in_any_batch(objective):
    examples = [encoded(words(n, n)) for n in (30, 4, 17)]

    def collate(order):
        generators = [np.random.default_rng((9, i)) for i in order]
        batch = objective.collate([examples[i] for i in order], generators)
        rows = batch.targets["labels"].split([int(w) for w in batch.weight_B])
        return [(ids.tolist(), row.tolist()) for ids, row in zip(batch.input_ids, rows, strict=True)]

    first = collate([0, 1, 2])
    assert first == collate([0, 1, 2])
    assert [first[2], first[0]] == collate([2, 0])
    other = objective.collate(examples, [np.random.default_rng((8, i)) for i in range(3)])
    assert first[0][0] != other.input_ids[0].tolist()


@given(st.integers(0, 80), st.integers(0, 10**6), st.floats(0.0, 0.9), st.floats(0.5, 6), st.booleans())
def test_bart_hides_exactly_its_share_and_no_text_gets_longer(num, seed, infill, mean, permute):
    if not (infill or permute):
        return
    text = words(num, seed)
    objective = noise(infill=infill, mean_span=mean, permute=permute)
    batch = objective.collate([encoded(text)], [np.random.default_rng(seed)])
    shown = batch.input_ids[0][1:-1]
    kept = shown[shown != MASK]
    assert num - len(kept) in (math.floor(num * infill), math.ceil(num * infill))
    assert len(shown) <= num
    assert batch.targets["labels"].tolist() == ([*text, SEP] if num else [])
    if not permute:  # what is left is in order: a subsequence
        rest = iter(text.tolist())
        assert all(token in rest for token in kept.tolist())


def test_spans_of_bart_are_poisson_and_anywhere():
    objective, num = noise(permute=False), 200
    text = np.arange(6, 206)
    hidden_N, masks, sizes = np.zeros(num), 0, []
    for seed in range(1500):
        shown, is_mask = objective.infilled(text, np.random.default_rng(seed))
        kept = shown[~is_mask] - 6
        hidden_N[np.setdiff1d(np.arange(num), kept)] += 1
        masks += is_mask.sum()
        sizes.append(is_mask.sum())
    # 60 of 200 tokens each time, alike but near the ends, where fewer spans can lie across a token
    assert hidden_N.sum() == 1500 * 60
    inner = hidden_N[15:-15] / 1500
    assert np.abs(inner - inner.mean()).max() < 4.5 * math.sqrt(0.3 * 0.7 / 1500)
    assert 0.3 < inner.mean() < 0.32
    # the first token is hidden where the first of the kept tokens and the spans is a span that hides some
    assert hidden_N[0] / 1500 == pytest.approx(21 * 0.95 / (140 + 21), abs=0.035)
    # renewal theory: spans of mean 3 until 60 are full, E = 60 / 3 + (σ² + μ²) / (2 μ²), σ² = μ = 3
    expected = 60 / 3 + (3 + 9) / (2 * 9)
    assert masks / 1500 == pytest.approx(expected, abs=4 * np.std(sizes) / math.sqrt(1500) + 0.05)


def test_a_span_without_tokens_is_a_mask_that_hides_nothing():
    objective = noise(infill=0.02, mean_span=0.5, permute=False)
    found = [objective.infilled(words(100), np.random.default_rng(seed)) for seed in range(200)]
    assert any(is_mask.sum() == 2 and len(shown) == 100 for shown, is_mask in found)  # 2 hidden in 1 or 2
    assert all(is_mask.sum() <= 3 for _, is_mask in found)


def test_deletion_takes_its_share_and_leaves_masks():
    objective = noise(infill=0.3, delete=0.25, permute=False)
    text, kept, masks = np.arange(6, 206), 0, 0
    for seed in range(400):
        shown = objective.noisy(text, np.random.default_rng(seed))
        kept += np.count_nonzero(shown != MASK)
        masks += np.count_nonzero(shown == MASK)
    num = 400 * 140  # what infilling leaves
    assert abs(kept - 0.75 * num) < 4 * math.sqrt(num * 0.75 * 0.25)
    assert masks > 400 * 18


def test_sentences_change_places_whole_and_in_all_orders():
    objective = noise(infill=0.0)
    text = np.array([10, STOP, 20, 21, STOP, STOP, 30])
    orders = {}
    for seed in range(600):
        shown = tuple(objective.noisy(text, np.random.default_rng(seed)).tolist())
        orders[shown] = orders.get(shown, 0) + 1
    parts = [(10, STOP), (20, 21, STOP, STOP), (30,)]
    expected = {sum(order, ()) for order in itertools.permutations(parts)}
    assert set(orders) == expected
    assert min(orders.values()) > 100 - 4 * math.sqrt(600 / 6 * 5 / 6)


def test_special_tokens_are_neither_hidden_nor_moved():
    for objective in (spans(noise_density=0.9), noise(infill=0.9)):
        for seed in range(100):
            batch = objective.collate([encoded(words(12, seed))], [np.random.default_rng(seed)])
            (shown,), labels = batch.input_ids, batch.targets["labels"].tolist()
            assert (shown[0], shown[-1]) == (CLS, SEP)
            assert not {PAD, CLS} & set(labels)
            assert labels.count(SEP) == 1
            assert batch.segments[0].tolist() == [0] * len(shown)


def test_without_a_mask_token_only_other_noise():
    context = ObjectiveContext(
        OutputKind.GENERATED_TEXT, Vocabulary(6, 0, None, frozenset({0})), tokenizer=Codec()
    )
    with pytest.raises(PluginError, match="no mask token: set infill: 0"):
        Denoising(DenoisingOptions(), context)
    Denoising(DenoisingOptions(infill=0.0), context)
