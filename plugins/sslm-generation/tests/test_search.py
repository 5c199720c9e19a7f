"""Decoding against brute force, by hand, and against the model without a cache."""

import itertools
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sslm_generation.decoder import Decoder, DecoderInput, sinusoids
from sslm_generation.options import DecoderOptions, DecodingOptions
from sslm_generation.search import decode, length_penalty

from sslm_platform.api import HeadContext, SpecError

PAD, START, END = 0, 1, 2


class Tokens:
    """Ids as their digits."""

    size, pad_id, start_id, end_id = 6, PAD, START, END

    def encode(self, texts):
        return [[int(digit) for digit in text] for text in texts]

    def decode(self, ids):
        return ["".join(map(str, row)) for row in ids]


class Table:
    """A model whose next-token logits are drawn anew for each prefix."""

    device = torch.device("cpu")

    def __init__(self, seeds, beams):
        self.prefixes = [(seed,) for seed in seeds for _ in range(beams)]

    def following(self, ids_R):
        self.prefixes = [(*prefix, int(i)) for prefix, i in zip(self.prefixes, ids_R, strict=True)]
        return torch.stack([logits_after(prefix) for prefix in self.prefixes])

    def reorder(self, rows_R):
        self.prefixes = [self.prefixes[row] for row in rows_R.tolist()]


def logits_after(prefix):
    return torch.from_numpy(np.random.default_rng(prefix).normal(size=Tokens.size) * 2)


def log_probability(seed, ids):
    """Of these tokens after the start, without padding and start among the choices."""
    total = 0.0
    for place in range(len(ids)):
        logits = logits_after((seed, START, *ids[:place]))
        logits[[PAD, START]] = -math.inf
        total += float(logits.log_softmax(0)[ids[place]])
    return total


def brute_force(seed, longest, alpha, number=1):
    """The best of all texts that end, or that are cut."""
    words = [3, 4, 5]
    texts = [(*t, END) for n in range(longest) for t in itertools.product(words, repeat=n)]
    texts += list(itertools.product(words, repeat=longest))
    texts.sort(key=lambda ids: -log_probability(seed, ids) / ((5 + len(ids)) / 6) ** alpha)
    best = [[token for token in ids if token != END] for ids in texts[:number]]
    return best[0] if number == 1 else best


def run(seeds, goes_on=lambda unfinished: unfinished, draws=None, **options):
    options = DecodingOptions(**options)
    generators = [np.random.default_rng([7, seed]) for seed in (draws or seeds)]
    found = decode(Table(seeds, options.beams), Tokens(), options, generators, goes_on)
    return [texts[0] for texts in found] if options.n_best == 1 else found


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_beam_as_wide_as_the_vocabulary_allows_finds_the_best_text(alpha):
    seeds = list(range(12))
    found = run(seeds, beams=64, length_penalty=alpha, max_length=4)
    assert found == [brute_force(seed, 4, alpha) for seed in seeds]
    assert len({len(ids) for ids in found}) > 1


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_n_best_of_a_wide_beam_are_the_n_best_of_all(alpha):
    seeds = list(range(8))
    found = run(seeds, beams=64, n_best=4, length_penalty=alpha, max_length=4)
    assert found == [brute_force(seed, 4, alpha, number=4) for seed in seeds]
    assert [texts[0] for texts in found] == run(seeds, beams=64, length_penalty=alpha, max_length=4)


def test_texts_of_a_batch_are_those_of_each_alone():
    seeds = list(range(20))
    assert run(seeds, beams=3, max_length=9) == [run([s], beams=3, max_length=9)[0] for s in seeds]


def test_one_beam_is_greedy():
    def greedy(seed):
        ids = []
        while len(ids) < 8:
            logits = logits_after((seed, START, *ids))
            logits[[PAD, START]] = -math.inf
            token = int(logits.argmax())
            if token == END:
                return ids
            ids.append(token)
        return ids

    seeds = list(range(30))
    assert run(seeds, max_length=8) == [greedy(seed) for seed in seeds]


def test_beams_find_likelier_texts_than_one_beam():
    def score(beams):
        texts = run(range(40), beams=beams, length_penalty=0.0, max_length=6)
        return np.mean([log_probability(s, ids + [END] * (len(ids) < 6)) for s, ids in enumerate(texts)])

    assert score(1) < score(2) < score(8)


def test_length_penalty_is_that_of_wu():
    """Wu et al. (2016), equation 14: (5 + |Y|)^alpha / (5 + 1)^alpha."""
    assert length_penalty(7, 0.6) == pytest.approx(12**0.6 / 6**0.6)
    assert length_penalty(1, 0.6) == 1.0


@pytest.mark.parametrize("options", [{}, {"beams": 4, "length_penalty": 3.0}, {"top_p": 1.0}])
def test_no_ngram_occurs_twice(options):
    texts = run(range(30), no_repeat=2, max_length=10, **options)
    pairs = [list(itertools.pairwise(ids)) for ids in texts]
    assert all(len(found) == len(set(found)) for found in pairs)
    free = [list(itertools.pairwise(ids)) for ids in run(range(30), max_length=10, **options)]
    assert any(len(found) > len(set(found)) for found in free)


def test_samples_are_of_the_nucleus_in_its_proportions():
    logits = logits_after((0, START))
    logits[[PAD, START]] = -math.inf
    shares = logits.softmax(0).numpy()
    order = np.argsort(-shares)
    nucleus = order[: 1 + int(np.searchsorted(np.cumsum(shares[order]), 0.7))]
    num = 4000
    first = [ids[0] if ids else END for ids in run([0] * num, draws=range(num), top_p=0.7, max_length=1)]
    counts = np.bincount(first, minlength=Tokens.size)
    assert set(np.flatnonzero(counts)) == set(nucleus.tolist())
    expected = shares[nucleus] / shares[nucleus].sum()
    sigma = np.sqrt(num * expected * (1 - expected))
    assert (np.abs(counts[nucleus] - num * expected) < 4 * sigma + 1).all()


def test_a_tiny_nucleus_or_temperature_is_greedy():
    seeds = list(range(20))
    greedy = run(seeds, max_length=8)
    assert run(seeds, top_p=1e-6, max_length=8) == greedy
    assert run(seeds, top_p=1.0, temperature=1e-4, max_length=8) == greedy
    assert run(seeds, top_p=1.0, max_length=8) != greedy


def test_samples_do_not_depend_on_the_other_texts():
    seeds = list(range(8))
    assert run(seeds, top_p=0.9) == [run([seed], top_p=0.9)[0] for seed in seeds]


@pytest.mark.parametrize("options", [{"beams": 3}, {"top_p": 0.9}])
def test_waiting_for_other_ranks_changes_no_text(options):
    asked = []

    def another_rank_goes_on(unfinished):
        asked.append(unfinished)
        return True

    seeds = list(range(6))
    assert run(seeds, another_rank_goes_on, max_length=20, **options) == run(seeds, max_length=20, **options)
    assert not asked[-1]
    assert len(asked) == 19


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_p": 0.9, "beams": 2}, "give one of them"),
        ({"temperature": 0.5}, "give top_p too"),
        ({"beams": 2, "n_best": 3}, "n_best are of the beams"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(ValidationError, match=message):
        DecodingOptions(**options)


def decoder(**options):
    torch.manual_seed(0)
    return Decoder(DecoderOptions(width=16, **options), HeadContext(8, 40, (), Tokens())).eval()


def test_cached_logits_are_those_of_the_whole_prefix():
    head = decoder(layers=3)
    memory_BLD, mask_BL = torch.randn(4, 5, 8), torch.tensor([[1] * n + [0] * (5 - n) for n in (5, 2, 1, 4)])
    ids_BT = torch.randint(3, 6, (4, 7))
    caches_seen = []

    class Recorder:
        device = torch.device("cpu")

        def __init__(self, rows):
            self.rows, self.ids_RT = rows, torch.empty(4, 0, dtype=torch.int64)

        def following(self, ids_R):
            logits_RV = self.rows.following(ids_R)
            self.ids_RT = torch.cat([self.ids_RT, ids_R[:, None]], dim=1)
            wanted = (torch.arange(4), torch.full((4,), self.ids_RT.shape[1] - 1))
            whole_RV = head(DecoderInput(memory_BLD, mask_BL, self.ids_RT, *wanted))
            caches_seen.append(float((logits_RV - whole_RV).abs().max()))
            return logits_RV

        def reorder(self, rows_R):
            self.rows.reorder(rows_R)
            self.ids_RT = self.ids_RT[rows_R]

    from sslm_generation.decoder import _Rows

    rows = Recorder(_Rows(head, memory_BLD, mask_BL))
    with torch.no_grad():
        for column in ids_BT.T:
            rows.following(column)
        # hypotheses change places: here all rows are of one example
        memory_BLD[:] = memory_BLD[:1]
        mask_BL[:] = mask_BL[:1]
        rows = Recorder(_Rows(head, memory_BLD, mask_BL))
        for column in ids_BT.T:
            rows.following(column)
            rows.reorder(torch.tensor([2, 0, 0, 3]))
    assert len(caches_seen) == 14
    assert max(caches_seen) < 1e-5


def test_training_and_generation_see_the_same_model():
    """Teacher forcing of a greedy text makes each of its tokens the likeliest."""
    head = decoder(decoding={"max_length": 12})
    memory_BLD, mask_BL = 5 * torch.randn(3, 4, 8), torch.ones(3, 4)
    with torch.no_grad():
        texts = head.generate(memory_BLD, mask_BL, [np.random.default_rng(0)] * 3, lambda more: more)
        ids = [[int(digit) for digit in text] for text in texts]
        rows = [(i, place, token) for i, row in enumerate(ids) for place, token in enumerate(row)]
        example_N, position_N, labels_N = torch.tensor(rows).T
        targets = {"labels": labels_N, "example": example_N, "position": position_N}
        logits_NV = head(head.features(memory_BLD, mask_BL, targets))
    logits_NV[:, [PAD, START]] = -math.inf
    assert len(labels_N) > 3
    assert torch.equal(logits_NV.argmax(dim=1), labels_N)


def test_a_token_does_not_see_itself_or_what_comes_after():
    head = decoder()
    memory_BLD, mask_BL = torch.randn(1, 3, 8), torch.ones(1, 3)

    def logits(labels):
        size = len(labels)
        targets = {
            "labels": torch.tensor(labels),
            "example": torch.zeros(size, dtype=torch.int64),
            "position": torch.arange(size),
        }
        return head(head.features(memory_BLD, mask_BL, targets))

    first, second = logits([3, 4, 5, END]), logits([3, 4, 3, 3])
    assert torch.allclose(first[:3], second[:3], atol=1e-6)
    assert not torch.allclose(first[3], second[3], atol=1e-3)


def test_positions_are_vaswanis_sinusoids():
    table_TW = sinusoids(3, 2, 8, torch.device("cpu"))
    for row, position in enumerate((3, 4)):
        for i in range(4):
            angle = position / 10000 ** (2 * i / 8)
            assert table_TW[row, i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert table_TW[row, 4 + i] == pytest.approx(math.cos(angle), abs=1e-6)


def test_heads_divide_the_width():
    with pytest.raises(SpecError, match=r"head\.options\.heads: 3 does not divide 16"):
        decoder(heads=3)
