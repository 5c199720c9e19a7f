import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslm_platform.data import token_cache
from sslm_platform.data.encodings import encode_batch, encode_inputs
from sslm_platform.data.feeds import build_feed
from sslm_platform.data.fields import read_task
from sslm_platform.data.token_cache import tokenizer_digest
from sslm_platform.errors import DataError, SpecError
from sslm_platform.kinds import Field, FieldKind
from sslm_platform.spec.data import LimitSpec

TEXT = {"text": Field(FieldKind.TEXT), "label": Field(FieldKind.LABEL)}
PAIR = {**TEXT, "text_pair": Field(FieldKind.TEXT)}
TOKENS = {"tokens": Field(FieldKind.TOKENS), "tags": Field(FieldKind.TAGS)}
UNLABELLED = {"text": Field(FieldKind.TEXT)}


@pytest.fixture
def feed_of(given_rows, task_spec, tokenizer, tmp_path):
    """Build a feed of tasks given as (name, fields, needs) over rows that are all in train."""

    def build(train, *tasks, limit=None, seed=0, max_length=16, test=None):
        specs = [task_spec(name=name, fields=fields) for name, fields, _ in tasks]
        stream, rows = given_rows(train=train, dev=train[:1], test=test or train[:1], tasks=specs)
        needs = [n for _, _, n in tasks]
        cache = tmp_path / "cache"
        read = [read_task(rows, s, n, "", cache=cache) for s, n in zip(stream.tasks, needs, strict=True)]
        return build_feed(
            rows,
            {task.identity: task for task in read},
            "pets",
            tokenizer,
            max_length=max_length,
            limit=limit or LimitSpec(),
            seed=seed,
            cache=tmp_path / "cache",
        )

    return build


def labelled(n=30):
    return [{"text": f"the cat sat on {'x' * (i % 7)} {i}", "label": "ab"[i % 2]} for i in range(n)]


MOOD = ("mood", {"text": "text", "label": "label"}, TEXT)


def test_examples_are_what_the_tokenizer_says(feed_of, tokenizer):
    split = feed_of(labelled(), MOOD, max_length=8).splits["train"]
    assert len(split) == 30
    for row, example in enumerate(split.encoded("mood@home", range(30), ("b", "a"))):
        expected = tokenizer(split.values("mood@home", "text")[row], truncation=True, max_length=8)[
            "input_ids"
        ]
        assert example.input_ids_L.tolist() == expected
        assert split.lengths_N[row] == len(expected) <= 8
        assert example.special_L.tolist() == [i in (2, 3) for i in expected]
        assert example.values == {"label": {"b": 0, "a": 1}[split.values("mood@home", "label")[row]]}
        assert example.segment_L is None
        assert example.word_start_W is None


def test_a_users_inputs_are_encoded_as_a_streams(feed_of, tokenizer):
    split = feed_of(labelled(), MOOD).splits["train"]
    examples = encode_inputs({"text": split.values("mood@home", "text")}, tokenizer, 16)
    for mine, theirs in zip(examples, split.encoded("mood@home", range(30), ()), strict=True):
        assert mine.input_ids_L.tolist() == theirs.input_ids_L.tolist()
        assert mine.special_L.tolist() == theirs.special_L.tolist()
    (example,) = encode_inputs({"tokens": [["the", "unbelievable"]]}, tokenizer, 16)
    assert example.word_start_W.tolist() == [1, 2]


def test_a_label_that_the_set_lacks_is_minus_one(feed_of):
    split = feed_of(labelled(2), MOOD).splits["train"]
    assert [e.values["label"] for e in split.encoded("mood@home", [0, 1], ("b",))] == [-1, 0]


def test_pairs_number_their_segments(feed_of):
    rows = [{"text": "the cat", "other": "a dog sat", "label": "a"}]
    fields = {"text": "text", "text_pair": "other", "label": "label"}
    (example,) = feed_of(rows, ("nli", fields, PAIR)).splits["train"].encoded("nli@home", [0], ("a",))
    assert example.segment_L.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert example.special_L.nonzero()[0].tolist() == [0, 3, 7]


word = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(word, min_size=1, max_size=12), min_size=1, max_size=4))
def test_words_begin_where_their_first_token_is_for_any_unicode(tokenizer, sentences):
    arrays = encode_batch({"tokens": sentences}, tokenizer, 12)
    for row, words in enumerate(sentences):
        ids, starts = arrays["input_ids"][row].as_py(), arrays["word_start"][row].as_py()
        assert len(starts) == len(words)
        expected, position = [], 1  # word by word, without the tokenizer's own alignment
        for one in words:
            pieces = tokenizer([one], is_split_into_words=True, add_special_tokens=False)["input_ids"]
            kept = pieces and position < len(ids) - 1
            expected.append(position if kept else -1)
            if kept:
                end = min(position + len(pieces), len(ids) - 1)
                assert ids[position:end] == pieces[: end - position]
            position += len(pieces)
        assert starts == expected


def test_tags_keep_their_words_when_tokens_are_cut_off(feed_of):
    rows = [{"tokens": ["unbelievable", "red", "box", "film"], "tags": ["O", "B-c", "I-c", "O"]}]
    task = ("tag", {"tokens": "tokens", "tags": "tags"}, TOKENS)
    (example,) = (
        feed_of(rows, task, max_length=10).splits["train"].encoded("tag@home", [0], ("O", "B-c", "I-c"))
    )
    assert example.values["tags"].tolist() == [0, 1, 2, 0]
    assert example.word_start_W[0] == 1
    assert (example.word_start_W[1:] == -1).any()


def test_tasks_with_one_input_share_rows_and_each_has_all_of_its_own(feed_of):
    rows = [
        {"text": f"cat {i}", "label": "a" if i % 2 else None, "kind": "x" if i % 3 else None}
        for i in range(12)
    ]
    feed = feed_of(
        rows,
        MOOD,
        ("kind", {"text": "text", "label": "kind"}, TEXT),
        test=[{"text": "cat", "label": "a", "kind": "x"}],
    )
    split = feed.splits["train"]
    assert feed.tasks == ("mood@home", "kind@home")
    assert split.rows_N.tolist() == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]  # 0 and 6 have neither
    own = {"mood@home": [1, 3, 5, 7, 9, 11], "kind@home": [1, 2, 4, 5, 7, 8, 10, 11]}
    for task, expected in own.items():
        assert split.of(task).rows_N.tolist() == expected
        assert split.of(task).values(task, "text") == [f"cat {i}" for i in expected]
        places = [i for i, row in enumerate(split.rows_N) if row in expected]
        assert split.places_of(task, np.array(places)).tolist() == list(range(len(expected)))
    parts = {tasks: split.rows_N[places].tolist() for places, tasks in split.parts()}
    assert parts == {
        ("mood@home",): [3, 9],
        ("kind@home",): [2, 4, 8, 10],
        ("mood@home", "kind@home"): [1, 5, 7, 11],
    }
    few = split.take(np.array([0, 1, 2]))
    assert [few.tasks_of(np.array([i])) for i in range(3)] == [feed.tasks, ("kind@home",), ("mood@home",)]
    assert few.encoded("mood@home", [2], ("a",))[0].values["label"] == 0
    assert [len(one) for one, _ in feed.splits["test"].parts()] == [1]


def test_with_a_limit_tasks_that_share_rows_train_on_the_examples_that_each_has_alone(feed_of):
    rows = [{"text": f"cat {i}", "label": "a", "kind": "x" if i % 3 else None} for i in range(60)]
    kind = ("kind", {"text": "text", "label": "kind"}, TEXT)
    test = [{"text": "cat", "label": "a", "kind": "x"}]
    limit = LimitSpec(train=20)
    together = feed_of(rows, MOOD, kind, limit=limit, test=test).splits["train"]
    for task, alone in (("mood@home", MOOD), ("kind@home", kind)):
        single = feed_of(rows, alone, limit=limit, test=test).splits["train"]
        assert together.of(task).rows_N.tolist() == single.rows_N.tolist()
        assert len(single) == 20


def test_tasks_that_read_different_columns_cannot_share_a_feed(feed_of):
    rows = [{"text": "cat", "title": "dog", "label": "a"}]
    with pytest.raises(DataError, match="mood@home reads text, head@home reads title: not one input"):
        feed_of(rows, MOOD, ("head", {"text": "title", "label": "label"}, TEXT))


def test_a_limit_draws_train_by_seed_and_test_always_alike(feed_of):
    rows, test = labelled(60), [{"text": f"dog {i}", "label": "a"} for i in range(50)]
    limit = LimitSpec(train=20, test=10)
    first, again, other = (feed_of(rows, MOOD, limit=limit, seed=s, test=test) for s in (1, 1, 2))
    reordered = feed_of(rows[::-1], MOOD, limit=limit, seed=1, test=test[::-1])
    keys = [sorted(f.splits["train"].keys_N) for f in (first, again, other, reordered)]
    assert keys[0] == keys[1] == keys[3] != keys[2]
    assert len(keys[0]) == 20
    assert np.all(np.diff(first.splits["train"].rows_N) > 0)  # the stream's order, whatever was drawn
    tests = {tuple(sorted(f.splits["test"].keys_N)) for f in (first, other, reordered)}
    assert len(tests) == 1


def test_a_key_names_the_same_text_in_a_subsample(feed_of):
    rows = labelled(40)
    whole, part = (feed_of(rows, MOOD, limit=LimitSpec(train=n), seed=3).splits["train"] for n in (None, 15))
    texts = dict(zip(whole.keys_N.tolist(), whole.values("mood@home", "text"), strict=True))
    assert [texts[key] for key in part.keys_N.tolist()] == part.values("mood@home", "text")


def test_tokens_are_made_once_and_damaged_ones_again(feed_of, tmp_path, monkeypatch, caplog):
    feed_of(labelled(), MOOD)
    made = []
    original = token_cache._tokenize
    monkeypatch.setattr(token_cache, "_tokenize", lambda *args: made.append(1) or original(*args))
    feed_of(labelled(), MOOD)
    assert not made
    for path in (tmp_path / "cache" / "tokens").iterdir():
        path.write_bytes(path.read_bytes()[:-200])
    split = feed_of(labelled(), MOOD).splits["train"]
    assert len(made) == 3
    assert "damaged" in caplog.text
    assert split.encoded("mood@home", [0], ())[0].input_ids_L[0] == 2
    feed_of(labelled(), MOOD, max_length=5)
    assert len(made) == 6


def test_the_digest_is_of_the_tokenizers_rules_not_of_its_last_call(tokenizer):
    before = tokenizer_digest(tokenizer)
    tokenizer("the cat", truncation=True, max_length=3, padding="max_length")
    assert tokenizer_digest(tokenizer) == before
    from copy import deepcopy

    changed = deepcopy(tokenizer)
    changed.add_tokens(["brandnew"])
    assert tokenizer_digest(changed) != before


def test_a_slow_tokenizer_is_refused(feed_of):
    with pytest.raises(SpecError, match="object is no fast tokenizer"):
        tokenizer_digest(object())


def test_unlabelled_rows_need_a_text_only(feed_of):
    rows = [{"text": "cat", "label": None}, {"text": "", "label": "a"}, {"text": "dog", "label": "a"}]
    split = feed_of(rows, ("mlm", {"text": "text"}, UNLABELLED)).splits["train"]
    assert split.values("mlm@home", "text") == ["cat", "dog"]
    assert [e.values for e in split.encoded("mlm@home", [0, 1], ())] == [{}, {}]


def test_arrays_can_be_changed_without_harm_to_the_cache(feed_of):
    split = feed_of(labelled(), MOOD).splits["train"]
    split.encoded("mood@home", [0], ())[0].input_ids_L[:] = 0
    assert np.all(split.encoded("mood@home", [0], ())[0].input_ids_L > 0)


def test_a_partner_is_any_other_example_of_the_split_whatever_its_limit(feed_of):
    whole = feed_of(labelled(8), MOOD).splits["train"]
    small = feed_of(labelled(8), MOOD, limit=LimitSpec(train=3)).splits["train"]
    texts = [e.input_ids_L.tolist() for e in whole.encoded("mood@home", range(8), ("a", "b"))]
    own = small.rows_N[1]
    drawn = [
        texts.index(small.partner("mood@home", 1, np.random.default_rng(seed)).input_ids_L.tolist())
        for seed in range(200)
    ]
    assert set(drawn) == set(range(8)) - {own}
    assert drawn == [
        texts.index(whole.partner("mood@home", own, np.random.default_rng(seed)).input_ids_L.tolist())
        for seed in range(200)
    ]


def test_a_text_that_is_alone_is_its_own_partner(feed_of):
    split = feed_of(labelled(1), MOOD).splits["train"]
    (own,) = split.encoded("mood@home", [0], ("a", "b"))
    partner = split.partner("mood@home", 0, np.random.default_rng(0))
    assert partner.input_ids_L.tolist() == own.input_ids_L.tolist()
