"""Language modelling from left to right."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sslm_objectives.next_token import CausalLanguageModelling, PrefixLanguageModelling

from sslm_platform.api import Encoded, PluginError, Vocabulary

VOCABULARY = Vocabulary(size=20, pad_id=0, mask_id=4, special_ids=frozenset({0, 1, 2, 3, 4}))
UNKNOWN, CLS, SEP = 1, 2, 3


def encoded(*ids):
    return Encoded(np.array(ids), np.array([i in (CLS, SEP) for i in ids]), {})


def rows(batch):
    return list(zip(*(batch.targets[n].tolist() for n in ("example", "position", "labels")), strict=True))


def test_every_token_of_a_text_is_a_target_at_the_token_before_it():
    texts = [encoded(CLS, 7, 8, SEP), encoded(CLS, 9, SEP), encoded(CLS, SEP)]
    batch = CausalLanguageModelling(VOCABULARY).collate(texts, [])
    assert rows(batch) == [(0, 0, 7), (0, 1, 8), (1, 0, 9)]
    assert batch.weight_B.tolist() == [2, 1, 0]


def test_unknown_tokens_are_no_targets_but_what_follows_them_is():
    batch = CausalLanguageModelling(VOCABULARY).collate([encoded(CLS, 7, UNKNOWN, 9, SEP)], [])
    assert rows(batch) == [(0, 0, 7), (0, 2, 9)]


def test_a_text_without_a_start_token_has_no_target_at_its_first():
    batch = CausalLanguageModelling(VOCABULARY).collate([encoded(7, 8, 9)], [])
    assert rows(batch) == [(0, 0, 8), (0, 1, 9)]


def test_the_loss_is_the_negative_log_likelihood_of_the_text():
    batch = CausalLanguageModelling(VOCABULARY).collate([encoded(CLS, 7, 8, SEP), encoded(CLS, 9, SEP)], [])
    logits_NV = np.random.default_rng(0).normal(size=(3, 20))
    nats = -log_softmax(logits_NV, axis=1)[range(3), [7, 8, 9]]
    objective = CausalLanguageModelling(VOCABULARY)
    losses = objective.losses(torch.tensor(logits_NV), batch.targets, 2).numpy()
    assert losses == pytest.approx([nats[0] + nats[1], nats[2]], rel=1e-5)


def test_the_second_text_and_its_end_are_generated():
    pairs = [encoded(CLS, 7, 8, SEP, 9, 10, SEP), encoded(CLS, 7, SEP, 9, SEP)]
    batch = PrefixLanguageModelling(VOCABULARY).collate(pairs, [])
    assert rows(batch) == [(0, 3, 9), (0, 4, 10), (0, 5, SEP), (1, 2, 9), (1, 3, SEP)]
    assert batch.prefix_B.tolist() == [4, 3]
    assert batch.weight_B.tolist() == [3, 2]


def test_two_special_tokens_between_texts_belong_to_the_prefix():
    """RoBERTa's ``<s> a </s></s> b </s>``, without segments."""
    batch = PrefixLanguageModelling(VOCABULARY).collate([encoded(CLS, 7, SEP, SEP, 9, SEP)], [])
    assert batch.prefix_B.tolist() == [4]
    assert rows(batch) == [(0, 3, 9), (0, 4, SEP)]


def test_a_text_alone_is_all_prefix():
    batch = PrefixLanguageModelling(VOCABULARY).collate([encoded(CLS, 7, SEP, SEP)], [])
    assert batch.prefix_B.tolist() == [4]
    assert batch.weight_B.tolist() == [0]


def test_a_tokenizer_that_joins_texts_is_refused():
    with pytest.raises(PluginError, match="no special token between"):
        PrefixLanguageModelling(VOCABULARY).collate([encoded(7, 8, 9)], [])
