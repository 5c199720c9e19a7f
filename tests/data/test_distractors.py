"""Wrong answers made of other rows: which they are, and that nothing tells the right one."""

from collections import Counter

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslm_platform.data.distractors import _by_similarity, _shuffled, with_distractors
from sslm_platform.errors import DataError
from sslm_platform.spec.data import DistractorSpec


def rows_of(num=200):
    answers = [f"answer {i % 50} about {'cats' if i % 2 else 'dogs'}" for i in range(num)]
    texts = [f"question n{i // 2} on {'cats' if i % 2 else 'dogs'}" for i in range(num)]
    return datasets.Dataset.from_dict({"text": texts, "reply": answers})


def made(rows, **options):
    spec = DistractorSpec(of="reply", to="text", **options)
    return with_distractors(rows, spec, "fingerprint", where="streams[0].distractors")


def test_candidates_are_the_own_answer_and_others():
    for row in made(rows_of()):
        assert len(set(row["candidates"])) == 4
        assert row["candidates"][row["choice"]] == row["reply"]
        assert sorted([*row["distractors"], row["reply"]]) == sorted(row["candidates"])


def test_an_answer_to_the_same_text_is_not_wrong():
    rows = datasets.Dataset.from_dict(
        {"text": ["A b", "a  B", "c", "d"], "reply": ["one", "two", "three", "Three "]}
    )
    found = made(rows, number=1)
    assert {row["text"]: row["distractors"] for row in found}["A b"] == ["three"]
    assert all(row["distractors"][0] in ("one", "two") for row in found.select([2, 3]))


def test_places_of_the_right_one_are_even():
    counts = np.bincount(made(rows_of(2000))["choice"], minlength=4)
    assert np.abs(counts - 500).max() < 5 * (2000 * 0.25 * 0.75) ** 0.5


def test_what_is_drawn_depends_on_the_row_and_the_pool_not_on_the_order():
    rows = rows_of()
    backwards = made(rows.select(range(len(rows) - 1, -1, -1)))
    first = {(r["text"], r["reply"]): r["candidates"] for r in made(rows)}
    assert first == {(r["text"], r["reply"]): r["candidates"] for r in backwards}


def test_each_text_is_drawn_as_often_as_the_others():
    counts = Counter(text for row in made(rows_of(3000)) for text in row["distractors"])
    assert len(counts) == 50
    assert max(abs(n - 180) for n in counts.values()) < 5 * (9000 / 50) ** 0.5


@given(st.integers(0, 40), st.integers(0, 2**32))
def test_an_order_has_every_place_once(number, seed):
    assert sorted(_shuffled(np.random.default_rng(seed), number)) == list(range(number))


def test_the_order_of_similar_ones_is_that_of_a_dense_sort():
    rng = np.random.default_rng(0)
    for _ in range(50):
        cosines_N = np.round(rng.uniform(0, 1, 30), 1) * rng.integers(0, 2, 30)
        places_N = rng.permutation(np.flatnonzero(cosines_N))
        found = list(_by_similarity(places_N, cosines_N[places_N], 30))
        assert found == np.argsort(-cosines_N, kind="stable").tolist()


def test_similar_ones_share_words_with_the_text():
    assert all(
        ("cats" in r["text"]) == ("cats" in d)
        for r in made(rows_of(), by="similar")
        for d in r["distractors"]
    )


def test_without_a_row_or_a_word_nothing_is_similar():
    assert len(made(rows_of().select([]), by="similar")) == 0
    rows = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "reply": ["!", "?", "!?"]})
    assert all(len(row["distractors"]) == 1 for row in made(rows, by="similar", number=1))


def test_rows_without_a_text_have_none():
    rows = datasets.Dataset.from_dict({"text": ["a", None, "c"], "reply": ["x", "y", "z"]})
    assert made(rows, number=1)["choice"][1] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"number": 60}, "50 different texts in reply: not 60 others for each"),
        ({"of": "replies"}, r"distractors.of: no column 'replies'"),
    ],
)
def test_what_cannot_be_made_is_an_error(options, message):
    spec = DistractorSpec(**({"of": "reply", "to": "text"} | options))
    with pytest.raises(DataError, match=message):
        with_distractors(rows_of(), spec, "f", where="streams[0].distractors")
