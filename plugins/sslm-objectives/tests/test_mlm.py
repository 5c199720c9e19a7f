import math

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare
from sslm_objectives.mlm import MaskedLanguageModelling
from sslm_objectives.options import MlmOptions

from sslm_platform.api import Encoded, PluginError, Vocabulary

VOCABULARY = Vocabulary(size=20, pad_id=0, mask_id=4, special_ids=frozenset({0, 1, 2, 3, 4}))
UNKNOWN = 1


def text(num_tokens, seed=0):
    ids = np.random.default_rng(seed).integers(5, 20, num_tokens)
    special = np.array([True, *[False] * num_tokens, True])
    return Encoded(np.concatenate([[2], ids, [3]]), special, {})


def corrupt(examples, seed=0, **options):
    objective = MaskedLanguageModelling(MlmOptions(**options), VOCABULARY)
    return objective.collate(examples, [np.random.default_rng((seed, i)) for i in range(len(examples))])


def fits(count, total, share):
    return binomtest(count, total, share).pvalue > 1e-4


def test_shares_are_those_of_the_paper():
    example = text(40_000)
    batch = corrupt([example])
    position = batch.targets["position"].numpy()
    before, after = example.input_ids_L[position], batch.input_ids[0][position]
    assert fits(len(position), 40_000, 0.15)
    assert fits((after == 4).sum(), len(position), 0.8)
    # a random token is the original one in 1 of 15 cases
    assert fits((after == before).sum(), len(position), 0.1 + 0.1 / 15)


def test_only_targets_change_and_labels_are_the_originals():
    example = text(2_000)
    batch = corrupt([example])
    position = batch.targets["position"].numpy()
    changed = np.flatnonzero(batch.input_ids[0] != example.input_ids_L)
    assert len(changed) > 0
    assert set(changed) <= set(position)
    assert (batch.targets["labels"].numpy() == example.input_ids_L[position]).all()
    assert batch.weight_B.tolist() == [len(position)]


def test_random_replacements_are_uniform_over_ordinary_tokens():
    batch = corrupt([text(30_000)], mask_prob=1.0, replace_prob=0.0, random_prob=1.0)
    counts = np.bincount(batch.input_ids[0][1:-1], minlength=20)
    assert counts[:5].sum() == 0
    assert chisquare(counts[5:]).pvalue > 1e-4


def test_unknown_tokens_are_no_targets():
    """The tokenizer's mask does not call [UNK] special, but nothing can be learned from restoring it."""
    example = text(50)
    example.input_ids_L[5:15] = UNKNOWN
    position = corrupt([example], mask_prob=1.0).targets["position"].numpy()
    assert set(position) == set(range(1, 51)) - set(range(5, 15))


def test_short_texts_get_a_target_at_the_documented_rate():
    examples = [text(5, seed) for seed in range(4_000)]
    weight_B = corrupt(examples).weight_B.numpy()
    assert weight_B.min() == 1
    expected, tolerance = 5 * 0.15 + 0.85**5, 4 * weight_B.std() / math.sqrt(len(examples))
    assert abs(weight_B.mean() - expected) < tolerance


def test_forced_target_is_anywhere():
    examples = [text(4, seed) for seed in range(4_000)]
    position = corrupt(examples, mask_prob=1e-9).targets["position"].numpy()
    assert chisquare(np.bincount(position, minlength=5)[1:5]).pvalue > 1e-4


def test_generator_alone_decides():
    examples = [text(30, seed) for seed in range(20)]
    first, again, other = (corrupt(examples, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first.input_ids, again.input_ids, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first.input_ids, other.input_ids, strict=True))


def test_tokenizer_without_mask_token_is_refused():
    with pytest.raises(PluginError, match="no mask token"):
        MaskedLanguageModelling(MlmOptions(), Vocabulary(20, 0, None, frozenset()))


def test_shares_beyond_one_are_refused():
    with pytest.raises(ValueError, match="must sum to 1 at most"):
        MlmOptions(replace_prob=0.8, random_prob=0.3)
