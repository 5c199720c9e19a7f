import pytest

from sslm_platform.data.check import check_stream, unknown_rate
from sslm_platform.data.feeds import build_feed
from sslm_platform.data.fields import read_task
from sslm_platform.kinds import Field, FieldKind
from sslm_platform.spec.data import LimitSpec

TEXT = {"text": Field(FieldKind.TEXT), "label": Field(FieldKind.LABEL)}
TOKENS = {"tokens": Field(FieldKind.TOKENS), "tags": Field(FieldKind.TAGS)}
GOOD = [{"text": "good film", "label": "a"}, {"text": "bad film", "label": "b"}]


def rows_of(labels, prefix=""):
    return [{"text": f"{prefix} film {i}", "label": label} for i, label in enumerate(labels)]


@pytest.fixture
def check(given_rows, task_spec, tmp_path):
    def run(fields=None, needs=TEXT, by="given", **splits):
        fields = fields or {"text": "text", "label": "label"}
        splits = {"train": GOOD, "dev": rows_of("ab", "dev"), "test": rows_of("ab", "test")} | splits
        spec, rows = given_rows(**splits, tasks=[task_spec(fields=fields)])
        task = read_task(rows, spec.tasks[0], needs, "w", cache=tmp_path / "cache")
        findings = check_stream(rows, {task.identity: (needs, task, "streams[0].tasks[0]")}, by)
        return [str(p) for p in findings.problems], [str(w) for w in findings.warnings]

    return run


def test_sound_data_have_no_findings(check):
    assert check() == ([], [])


def test_labels_that_train_lacks_are_named_with_counts(check):
    problems, _ = check(test=rows_of("accb", "test"), dev=rows_of("d", "dev"))
    assert problems == [
        "streams[0].tasks[0].fields.label: dev has labels that train lacks: 'd' (1)",
        "streams[0].tasks[0].fields.label: test has labels that train lacks: 'c' (2)",
    ]


def test_empty_splits_say_why(check):
    problems, _ = check(dev=[])
    assert problems == ["streams[0].tasks[0]: the dev split is empty; set split.dev_from_train"]
    problems, _ = check(dev=[], by="hash")
    assert problems == [
        "streams[0].tasks[0]: the dev split is empty: none of 4 rows fell into it; give more, or a larger"
        " split.dev"
    ]
    problems, _ = check(test=rows_of([None, None], "test"))
    assert problems == ["streams[0].tasks[0]: none of the 2 rows of test has all of text, label"]


def test_a_text_column_of_numbers_is_found(check):
    rows = [{"text": str(i / 10), "label": "ab"[i % 2]} for i in range(4)]
    problems, _ = check(train=rows)
    assert problems == [
        "streams[0].tasks[0].fields.text: column 'text' holds numbers: 4 of 4 texts of train, such as '0.0';"
        " is another column meant?"
    ]


def test_one_label_is_nothing_to_learn(check):
    problems, _ = check(train=rows_of("aa"), dev=rows_of("a", "dev"), test=rows_of("a", "test"))
    assert problems == ["streams[0].tasks[0].fields.label: train has one label only: 'a'; nothing to learn"]


def test_duplicates_across_train_and_test_are_counted(check):
    _, warnings = check(test=[{"text": "GOOD  film", "label": "a"}, *rows_of("ab", "test")])
    assert warnings == ["streams[0].tasks[0]: 1 of 3 test examples are in train too (without regard to case)"]


def test_empty_texts_are_counted(check):
    _, warnings = check(train=[*GOOD, {"text": " ", "label": "a"}])
    assert warnings == ["streams[0].tasks[0]: 1 rows are left out: their text is empty"]


def test_unseen_tag_types_are_a_warning_with_the_number_of_tokens(check):
    def row(word, *tags):
        return {"tokens": [word] * len(tags), "tags": list(tags)}

    problems, warnings = check(
        fields={"tokens": "tokens", "tags": "tags"},
        needs=TOKENS,
        train=[row("x", "B-a", "O")],
        dev=[row("y", "B-a", "I-a")],
        test=[row("z", "B-new", "I-new", "O")],
    )
    assert problems == []
    assert warnings == ["streams[0].tasks[0].fields.tags: test has labels that train lacks: 'new' (2)"]


def test_text_in_a_foreign_script_shows_in_the_rate_of_unknown_tokens(
    given_rows, task_spec, tokenizer, tmp_path
):
    def rate(*texts):
        rows = [{"text": text, "label": "a"} for text in texts]
        spec, loaded = given_rows(train=rows, dev=rows, test=rows)
        task = read_task(loaded, spec.tasks[0], TEXT, "", cache=tmp_path / "cache")
        options = {"max_length": 16, "limit": LimitSpec(), "seed": 0, "cache": tmp_path / "cache"}
        feed = build_feed(loaded, {task.identity: task}, "pets", tokenizer, **options)
        return unknown_rate(feed, tokenizer)

    assert rate("the cat sat", "a dog") == 0
    assert rate("机器学习") == 1
    assert rate("the cat 机 器") == 0.5


def test_tags_that_break_their_scheme_are_counted(check):
    rows = [{"tokens": ["a", "b"], "tags": ["O", "I-x"]}, {"tokens": ["c", "d"], "tags": ["B-x", "I-x"]}]
    fields = {"tokens": "tokens", "tags": "tags"}
    other = [{"tokens": ["e", "f"], "tags": ["B-x", "O"]}]
    _, warnings = check(fields, TOKENS, train=rows, dev=other, test=other)
    assert any(
        "fields.tags: 1 rows of train have tags that are no chunks of their scheme" in w for w in warnings
    )
    fields["tags"] = {"column": "tags", "scheme": "iob1"}
    _, warnings = check(fields, TOKENS, train=rows[:1], dev=rows[:1], test=rows[:1])
    assert not any("scheme" in w for w in warnings)
