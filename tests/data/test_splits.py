import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslm_platform.data.splits import hash_fractions, split_bases, split_places
from sslm_platform.errors import DataError
from sslm_platform.spec.data import SplitSpec

texts = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=30)


def split(rows: dict[str, list], spec: dict, inputs: tuple[str, ...] = ("text",)):
    return split_parts({"all": datasets.Dataset.from_dict(rows)}, SplitSpec(**spec), inputs)


def split_parts(parts: dict[str, datasets.Dataset], spec: SplitSpec, inputs: tuple[str, ...]):
    bases = split_bases(parts, spec, where="split")
    places = split_places(bases, spec, inputs, where="split")
    return {name: base.select(places[name]) for name, base in bases.items()}


@settings(max_examples=40)
@given(texts, st.randoms())
def test_the_split_of_a_row_does_not_depend_on_the_order_of_rows(values, random):
    values = [v.encode("utf-8", "ignore").decode() for v in values]
    shuffled = random.sample(values, len(values))
    first, second = (split({"text": v}, {"by": "hash"}) for v in (values, shuffled))
    for name in ("train", "dev", "test"):
        assert sorted(first[name]["text"]) == sorted(second[name]["text"])


def test_duplicates_stay_together_without_regard_to_case_and_spacing():
    variants = [f"{a}running{b}late {i}" for i in range(200) for a in ("", "  ") for b in (" ", "\t")]
    variants += [v.upper() for v in variants]
    splits = split({"text": variants, "rating": list(range(len(variants)))}, {"by": "hash"})
    contents = [{" ".join(t.lower().split()) for t in splits[name]["text"]} for name in splits]
    assert sum(map(len, contents)) == 200
    assert len(set.union(*contents)) == 200


def test_groups_stay_whole():
    ids = [f"{article}_{sentence}" for article in range(100) for sentence in range(5)]
    spec = {"by": "hash", "group": {"column": "id", "before": "_"}}
    splits = split({"id": ids, "text": [f"t{i}" for i in ids]}, spec)
    articles = [{i.split("_")[0] for i in splits[name]["id"]} for name in splits]
    assert sum(map(len, articles)) == len(set.union(*articles)) == 100


def test_shares_are_those_of_the_spec():
    splits = split(
        {"text": [f"row {i}" for i in range(4000)]}, {"by": "hash", "train": 0.6, "dev": 0.1, "test": 0.3}
    )
    shares = [len(splits[name]) / 4000 for name in ("train", "dev", "test")]
    assert shares == pytest.approx([0.6, 0.1, 0.3], abs=0.03)


def test_fractions_are_pinned():
    """Another machine, or a later version, must split alike."""
    import hashlib

    expected = int(hashlib.sha256("naïve".encode()).hexdigest()[:14], 16) / 16**14
    assert hash_fractions(["naïve"]) == np.array([expected])


def test_rows_without_a_group_are_no_group():
    texts = [f"text {i}" for i in range(300)]
    splits = split({"id": ["a_1"] * 20 + [None] * 280, "text": texts}, {"by": "hash", "group": "id"})
    assert all(len(splits[name]) > 10 for name in splits)
    twice = split({"id": [None, None] * 50, "text": ["one", "One "] * 50}, {"by": "hash", "group": "id"})
    assert sorted(map(len, twice.values())) == [0, 0, 100]


@pytest.mark.parametrize("blank", ["", " ", float("nan")])
def test_a_blank_group_is_none(blank):
    rows = {"id": [blank] * 300, "text": [f"text {i}" for i in range(300)]}
    assert all(len(part) > 10 for part in split(rows, {"by": "hash", "group": "id"}).values())


def test_an_unknown_group_column_is_named_with_the_nearest():
    with pytest.raises(DataError, match=r"split.group: no column 'idd'; did you mean id\?"):
        split({"id": ["1"], "text": ["a"]}, {"by": "hash", "group": "idd"})


def test_given_splits_need_splits():
    with pytest.raises(DataError, match=r"split.by: given needs splits in the data"):
        split({"text": ["a"]}, {"by": "given"})


def test_dev_from_train_is_taken_by_hash_and_leaves_test_alone():
    parts = {
        name: datasets.Dataset.from_dict({"text": [f"{name} {i}" for i in range(400)]})
        for name in ("train", "test")
    }
    splits = split_parts(parts, SplitSpec(by="given", dev_from_train=0.25), ("text",))
    assert splits["test"]["text"][:] == parts["test"]["text"][:]
    assert sorted([*splits["train"]["text"], *splits["dev"]["text"]]) == sorted(parts["train"]["text"])
    assert len(splits["dev"]) / 400 == pytest.approx(0.25, abs=0.06)


def test_a_column_names_the_split():
    rows = {"text": list("abcdef"), "part": ["train", "val", "oos_train", "test", "val", "other"]}
    values = {"train": ["train", "oos_train"], "dev": ["val"], "test": ["test"]}
    splits = split(rows, {"by": "column", "column": "part", "values": values})
    assert {name: list(part["text"]) for name, part in splits.items()} == {
        "train": ["a", "c"],
        "dev": ["b", "e"],
        "test": ["d"],
    }


def test_dev_of_a_column_comes_from_its_train_alone():
    rows = {"text": [f"t{i}" for i in range(300)], "part": ["train", "test", "none"] * 100}
    splits = split(rows, {"by": "column", "column": "part", "dev_from_train": 0.3})
    assert sorted([*splits["train"]["text"], *splits["dev"]["text"]]) == sorted(rows["text"][::3])
    assert 15 < len(splits["dev"]) < 45
    assert list(splits["test"]["text"]) == rows["text"][1::3]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"column": "prt"}, "no column 'prt'; did you mean part"),
        ({"column": "part"}, "no row is of train; part has x"),
    ],
)
def test_a_column_that_names_no_split(spec, message):
    with pytest.raises(DataError, match=message):
        split({"text": ["a"], "part": ["x"]}, {"by": "column", **spec})
