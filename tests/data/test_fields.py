import datasets
import pytest

from sslm_platform.data.fields import label_names, read_task
from sslm_platform.data.load import load_stream
from sslm_platform.errors import DataError
from sslm_platform.kinds import Field, FieldKind
from sslm_platform.spec.schema import FieldSpec

SEQUENCE = {"text": Field(FieldKind.TEXT), "label": Field(FieldKind.LABEL)}
VALUE = {"text": Field(FieldKind.TEXT), "value": Field(FieldKind.VALUE)}
TOKENS = {"tokens": Field(FieldKind.TOKENS), "tags": Field(FieldKind.TAGS)}


@pytest.fixture
def read(given_rows, task_spec, tmp_path):
    def read_fields(train, fields, needs, test=None):
        task = task_spec(fields=fields)
        spec, rows = given_rows(train=train, dev=train[:1], test=test or train[:1], tasks=[task])
        return read_task(rows, spec.tasks[0], needs, "streams[0].tasks[0]", cache=tmp_path / "cache")

    return read_fields


def rated(*ratings):
    return [{"text": f"film {i}", "label": r} for i, r in enumerate(ratings)]


def test_bins_are_closed_and_rows_between_them_are_left_out(read):
    bins = {"negative": (-4, -0.5), "positive": (0.5, 4)}
    fields = {"text": "text", "label": FieldSpec(column="label", bins=bins).model_dump()}
    task = read(rated("-0.5", "0", "0.5", "4", None), fields, SEQUENCE)
    assert task.splits["train"].rows.tolist() == [0, 2, 3]
    assert list(task.splits["train"].all_values("label")) == ["negative", "positive", "positive"]
    assert task.identity == "mood@home"
    assert task.inputs == (("text", "text"),)


def test_map_renames_and_leaves_out(read):
    fields = {"text": "text", "label": {"column": "label", "map": {"1": "low", "5": "high"}}}
    task = read(rated(1, 3, 5), fields, SEQUENCE)
    assert list(task.splits["train"].all_values("label")) == ["low", "high"]


def test_numeric_labels_are_sorted_as_numbers_and_the_union_is_of_train_only(read):
    fields = {"text": "text", "label": "label"}
    tasks = [read(rated(*r), fields, SEQUENCE, test=rated(99)) for r in ([10, 9], [2, 9])]
    assert label_names(tasks, SEQUENCE) == ("2", "9", "10")
    assert label_names([read(rated("b", "10", "a"), fields, SEQUENCE)], SEQUENCE) == ("10", "a", "b")
    equal = read(rated("1.0", "02", "1", "2", "01"), fields, SEQUENCE)  # as numbers: then by their text
    assert label_names([equal], SEQUENCE) == ("01", "1", "1.0", "02", "2")


def test_values_are_floats_and_have_no_labels(read):
    task = read(rated("1.5", "2", None, ""), {"text": "text", "value": "label"}, VALUE)
    assert list(task.splits["train"].all_values("value")) == [1.5, 2.0]
    assert label_names([task], VALUE) == ()


SETS = {"text": Field(FieldKind.TEXT), "labels": Field(FieldKind.LABELS)}


def test_no_label_is_a_set_of_labels_and_null_is_none(read):
    train = [{"text": str(i), "labels": one} for i, one in enumerate([["b", "a", "b"], [], None])]
    task = read(train, {"text": "text", "labels": "labels"}, SETS)
    assert list(task.splits["train"].all_values("labels")) == [["a", "b"], []]
    assert task.splits["train"].facts.counts == {"labels": {"a": 1, "b": 1}}
    assert label_names([task], SETS) == ("a", "b")


def test_labels_in_one_text_need_a_separator(read):
    train = [{"text": "x", "labels": "b; a ;"}, {"text": "y", "labels": ""}]
    fields = {"text": "text", "labels": {"column": "labels", "separator": ";", "map": {"a": "A", "b": "B"}}}
    assert list(read(train, fields, SETS).splits["train"].all_values("labels")) == [["A", "B"], []]
    with pytest.raises(DataError, match="is text; expected a list of labels; of text, set separator"):
        read(train, {"text": "text", "labels": "labels"}, SETS)


def tagged(*pairs):
    return [{"tokens": words.split(), "tags": tags.split()} for words, tags in pairs]


def test_tags_become_bio_and_their_label_set_is_complete(read):
    fields = {"tokens": "tokens", "tags": {"column": "tags", "scheme": "io"}}
    task = read(tagged(("1 Main St", "Num Street Street"), ("in Rome", "O City")), fields, TOKENS)
    assert list(task.splits["train"].all_values("tags")) == [
        ["B-Num", "B-Street", "I-Street"],
        ["O", "B-City"],
    ]
    assert label_names([task], TOKENS) == ("O", "B-City", "I-City", "B-Num", "I-Num", "B-Street", "I-Street")


def test_a_map_of_tags_names_types_and_takes_the_others_out(read):
    fields = {"tokens": "tokens", "tags": {"column": "tags", "map": {"poet": "person", "city": "place"}}}
    rows = tagged(("a b c d", "B-poet I-poet B-song I-song"), ("a b c", "B-poet B-poet B-city"))
    task = read(rows, fields, TOKENS)
    assert list(task.splits["train"].all_values("tags")) == [
        ["B-person", "I-person", "O", "O"],
        ["B-person", "B-person", "B-place"],
    ]


def test_class_numbers_of_a_data_set_become_names(tmp_path, stream_spec, task_spec):
    names = datasets.ClassLabel(names=["O", "B-x", "I-x"])
    features = {"tokens": datasets.List(datasets.Value("string")), "tags": datasets.List(names)}
    part = datasets.Dataset.from_dict({"tokens": [["a", "b"]], "tags": [[1, 2]]}, datasets.Features(features))
    part.save_to_disk(tmp_path / "saved")
    task = task_spec(fields={"tokens": "tokens", "tags": "tags"})
    data = {"source": "datasets", "path": "saved"}
    spec = stream_spec(data=data, split={"by": "given"}, tasks=[task])
    rows = load_stream(spec, base=tmp_path, cache=tmp_path)
    split = read_task(rows, spec.tasks[0], TOKENS, "", cache=tmp_path).splits["train"]
    assert list(split.all_values("tags")) == [["B-x", "I-x"]]


def test_empty_texts_are_left_out_and_counted(read):
    rows = [{"text": t, "label": "a"} for t in ("fine", "  ", None)]
    split = read(rows, {"text": "text", "label": "label"}, SEQUENCE).splits["train"]
    assert len(split) == 1
    assert split.facts.num_empty == 2


LABEL_FIELDS = {"text": "text", "label": "label"}
VALUE_FIELDS = {"text": "text", "value": "label"}
TAG_FIELDS = {"tokens": "tokens", "tags": "tags"}


@pytest.mark.parametrize(
    ("rows", "fields", "needs", "message"),
    [
        (
            rated("a"),
            {"text": "texts", "label": "lable"},
            SEQUENCE,
            r"fields\.text: no column 'texts' in train, dev, test; did you mean text\?\n"
            r".*fields\.label: no column 'lable' in .*; did you mean label\?",
        ),
        (
            [{"text": 5, "label": "a"}],
            LABEL_FIELDS,
            SEQUENCE,
            r"fields\.text: 1 of 1 values in train cannot be used; the first, row 0: 5 is a number; expected",
        ),
        (rated("0.5", "nan"), VALUE_FIELDS, VALUE, r"fields\.value: 1 of 2 .* row 1: nan is not finite"),
        (rated("high"), VALUE_FIELDS, VALUE, "'high' is text; expected a number"),
        (rated({"a": 1}), LABEL_FIELDS, SEQUENCE, "is a mapping; expected a label"),
        (
            tagged(("a b", "O")),
            TAG_FIELDS,
            TOKENS,
            "1 rows of train have another number of tags than tokens; the first, row 0: 1 tags, 2 tokens",
        ),
        (tagged(("a b", "O City")), TAG_FIELDS, TOKENS, "tag 'City' is not BIO; .* set scheme: io"),
        (
            [{"tokens": "a b", "tags": ["O", "O"]}],
            TAG_FIELDS,
            TOKENS,
            "'a b' is text; expected a list of words",
        ),
        ([{"tokens": ["a"], "tags": "O"}], TAG_FIELDS, TOKENS, "'O' is text; expected a list of tags"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(read, rows, fields, needs, message):
    with pytest.raises(DataError, match=message):
        read(rows, fields, needs)


def test_a_split_that_lacks_a_column_is_named(given_rows, task_spec, tmp_path):
    task = task_spec(fields={"text": "text", "label": "label"})
    spec, rows = given_rows(train=rated("a"), dev=rated("a"), test=[{"text": "unlabelled"}], tasks=[task])
    with pytest.raises(DataError, match=r"fields\.label: no column 'label' in test; known: text"):
        read_task(rows, spec.tasks[0], SEQUENCE, "", cache=tmp_path)


PAIR = {"tokens": Field(FieldKind.TOKENS), "spans": Field(FieldKind.SPANS), "label": Field(FieldKind.LABEL)}
SPANS = {"tokens": "tokens", "spans": "spans", "label": "label"}


def related(start, end):
    return [{"tokens": ["a", "b", "c"], "spans": {"start": start, "end": end}, "label": "x"}]


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ([0, 1], [1, 4], r"\[1, 4\] of 3 tokens"),
        ([0, 2], [1, 2], "has an empty span"),
        ([0], [1], "has not two spans"),
    ],
)
def test_spans_that_are_none(read, start, end, message):
    with pytest.raises(DataError, match=message):
        read(related(start, end), SPANS, PAIR)


def test_spans_are_inputs(read):
    task = read(related([0, 1], [1, 3]), SPANS, PAIR)
    assert task.inputs == (("spans", "spans"), ("tokens", "tokens"))
    assert list(task.splits["train"].all_values("spans")) == [{"start": [0, 1], "end": [1, 3]}]


ANSWERS = {
    "question": Field(FieldKind.TEXT),
    "context": Field(FieldKind.TEXT),
    "answers": Field(FieldKind.ANSWERS),
}


def asked(*answers):
    return [{"question": "q", "context": "in Rome", "answers": list(answers)}]


def test_answers_are_where_they_say(read):
    fields = {name: name for name in ANSWERS}
    task = read(asked({"text": "Rome", "start": 3}), fields, ANSWERS, test=asked())
    assert list(task.splits["train"].all_values("answers")) == [[{"text": "Rome", "start": 3}]]
    assert list(task.splits["test"].all_values("answers")) == [[]]
    assert task.inputs == (("context", "context"), ("question", "question"))
    with pytest.raises(DataError, match="'Rome' is not at 2: the context has ' Rom'"):
        read(asked({"text": "Rome", "start": 2}), fields, ANSWERS)
