import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sslm_platform.data.formats import read_batches
from sslm_platform.data.tables import ROWS_AT_ONCE
from sslm_platform.errors import DataError
from sslm_platform.spec.data import Format

words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=8)


def read(content: bytes | str, **form) -> dict[str, list]:
    content = content if isinstance(content, bytes) else content.encode()
    whole: dict[str, list] = {}
    for batch in read_batches(
        lambda: io.BytesIO(content), TypeAdapter(Format).validate_python(form), where="file"
    ):
        whole = {name: [*whole.get(name, ()), *values] for name, values in batch.items()}
    return whole


def test_tsv_like_vaders_has_no_header_no_quoting_and_another_encoding():
    content = '1_1\t-0.5\t"Not" a "quote\r\n1_2\t3\tcaf\xe9 \x93so\x94\r\n'.encode("latin-1")
    assert read(content, name="tsv", columns=["id", "rating", "text"], encoding="cp1252") == {
        "id": ["1_1", "1_2"],
        "rating": ["-0.5", "3"],
        "text": ['"Not" a "quote', "café “so”"],
    }


def test_csv_values_stay_text_and_quotes_hold_delimiters_and_lines():
    content = '\ufefflabel,text\n01,"NA, null"\n1e3,"two\nlines ""here"""\n'
    assert read(content, name="csv") == {"label": ["01", "1e3"], "text": ["NA, null", 'two\nlines "here"']}


def test_a_very_long_value_is_read():
    assert len(read("text\n" + "x" * 200_000 + "\n", name="csv")["text"][0]) == 200_000


@pytest.mark.parametrize(
    ("content", "form", "message"),
    [
        ("a,b\n1,2\n3\n", {"name": "csv"}, r"file:3: 1 values, expected 2 \(a, b\)"),
        ('a,b\n1,"open\n', {"name": "csv"}, r"file:2: unexpected end of data; set format.quoting: false"),
        ("a,a\n1,2\n", {"name": "csv"}, "two columns have one name"),
        (b"a\ncaf\xe9\n", {"name": "csv"}, r"file: not utf-8: byte 0xe9 at line 2; set format.encoding"),
        ("a\n", {"name": "csv", "encoding": "utf-9"}, "unknown encoding 'utf-9'"),
        ('{"a": 1}\n{"a": \n', {"name": "jsonl"}, "file:2: not JSON: Expecting value at character 6"),
        ("[1]\n", {"name": "jsonl"}, "file:1: expected a JSON object; got list"),
        ("[1, ", {"name": "json"}, "file: not JSON"),
        ('{"train": 3}', {"name": "json"}, "file: expected a list of rows in 'train'; got int"),
        ('{"dev": [{}, ["a"]]}', {"name": "json"}, r"file: dev\[1\]: expected an object; .*format.columns"),
        ('[["a"]]', {"name": "json", "columns": ["text", "label"]}, "expected a list of text, label"),
        ("<a></a>", {"name": "blocks", "item": "review"}, "file: no block <review>"),
        ("no table", {"name": "parquet"}, "file: not a Parquet file"),
        ("EU B-ORG\nrejects\n", {"name": "conll"}, r"file:2: 1 columns, expected 2 \(tokens, tags\)"),
        ("<a><b></a>", {"name": "tagged_xml", "item": "b"}, "file: not well-formed XML"),
        ("<all><name/></all>", {"name": "tagged_xml", "item": "nam"}, "no element 'nam'; did you mean name"),
    ],
)
def test_a_file_that_is_not_in_its_format_says_where(content, form, message):
    with pytest.raises(DataError, match=message):
        read(content, **form)


def test_json_lines_fill_missing_keys_with_null():
    assert read('{"a": 1}\n\n{"a": 2, "b": ["x"]}\n', name="jsonl") == {"a": [1, 2], "b": [None, ["x"]]}


def test_json_lines_of_lists_become_texts():
    content = b'{"s": ["One.", "Two."], "t": ["a", "b"]}\n{"s": [], "t": []}\n{"t": null}\n'
    columns = read(content, name="jsonl", join={"s": " "}, first=["t"])
    assert columns == {"s": ["One. Two.", None, None], "t": ["a", None, None]}
    with pytest.raises(DataError, match=r":1: s is no list of texts, which join and first are for"):
        read(b'{"s": "One."}', name="jsonl", first=["s"])


def test_json_of_lists_that_are_named():
    content = '{"val": [["hi", "greet"]], "oos_val": [["dow?", "oos"]]}'
    assert read(content, name="json", columns=["text", "intent"], key="part") == {
        "text": ["hi", "dow?"],
        "intent": ["greet", "oos"],
        "part": ["val", "oos_val"],
    }


def test_json_of_objects_lacks_what_a_row_lacks():
    content = '[{"tokens": ["a", "b"], "h": 1}, {"tokens": []}]'
    assert read(content, name="json", join={"tokens": " "}) == {"tokens": ["a b", None], "h": [1, None]}
    assert read(content, name="json", columns=["h"]) == {"h": [1, None]}


def test_blocks_are_no_xml():
    content = (
        "<data><review>\n<id>\n1\n</id>\n<text>\nAT&T < all\n\ntwo </text><id>2</id></review>\n<review/>"
    )
    assert read(content, name="blocks", item="review") == {"id": ["1"], "text": ["AT&T < all\n\ntwo"]}


def test_parquet():
    columns = {"text": ["a", "b"], "tags": [["O"], []]}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    assert read(sink.getvalue().to_pybytes(), name="parquet") == columns


@given(st.lists(st.lists(st.tuples(words, words), min_size=1, max_size=5), max_size=5))
def test_conll_gives_back_the_sentences_that_were_written(sentences):
    content = "\n\n".join("\n".join(f"{token}\t{tag}" for token, tag in s) for s in sentences)
    columns = read(content, name="conll", separator="\t")
    expected = [list(map(list, zip(*s, strict=True))) for s in sentences if s[0][0] != "-DOCSTART-"]
    assert list(map(list, zip(columns["tokens"], columns["tags"], strict=True))) == expected


def test_conll_leaves_out_comments_documents_and_unnamed_columns():
    content = "-DOCSTART- -X- O\r\n\r\n# id 7\r\nEU NNP B-ORG\r\n\xa0 SP O\r\n\r\n"
    columns = read(content, name="conll", columns=["tokens", "_", "tags"], comment="#")
    assert columns == {"tokens": [["EU", "\xa0"]], "tags": [["B-ORG", "O"]]}


def test_conllu_gives_syntactic_words():
    line = "{}\t{}\t{}\t{}\tXX\t_\t0\troot\t_\tSpaceAfter=No\n".format
    content = "".join(
        [
            "# text = I don't #1\n",
            line("1", "I", "I", "PRON"),
            line("2-3", "don't", "_", "_"),
            line("2", "do", "do", "AUX"),
            line("3", "n't", "not", "PART"),
            line("3.1", "go", "go", "VERB"),
            line("4", "#", "#", "SYM"),
            "\n",
            line("1", "Ja", "ja", "INTJ"),
        ]
    )
    assert read(content, name="conllu") == {
        "tokens": [["I", "do", "n't", "#"], ["Ja"]],
        "lemmas": [["I", "do", "not", "#"], ["ja"]],
        "upos": [["PRON", "AUX", "PART", "SYM"], ["INTJ"]],
        "xpos": [["XX"] * 4, ["XX"]],
    }
    with pytest.raises(DataError, match="file:3: 2 columns, expected 10"):
        read("# a\n" + line("1", "I", "I", "PRON") + "2\tyou\n", name="conllu")


def test_text_by_line_and_by_paragraph():
    content = "one\r\n  two  \r\n \r\nthree\n"
    assert read(content, name="text") == {"text": ["one", "two", "three"]}
    assert read(content, name="text", unit="paragraph") == {"text": ["one two", "three"]}


def xml(body: str) -> tuple[list[str], list[str]]:
    columns = read(f"<all><item>{body}</item></all>", name="tagged_xml", item="item")
    return columns["tokens"][0], columns["tags"][0]


def test_tagged_xml_keeps_punctuation_with_its_token():
    tokens, tags = xml(
        "<Num>1</Num> <Street>Main St</Street>, #<Unit>5</Unit> , <City>R&amp;D,</City><State>IL</State>"
    )
    assert tokens == ["1", "Main", "St,", "#5", ",", "R&D,", "IL"]
    assert tags == ["Num", "Street", "Street", "Unit", "O", "City", "State"]


def test_tagged_xml_reads_text_outside_of_tags_as_outside():
    assert xml("I live in <City>Paris</City>.") == (["I", "live", "in", "Paris."], ["O", "O", "O", "City"])


def test_tagged_xml_refuses_entities_of_its_own():
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><all><item><A>&y;</A></item></all>'
    with pytest.raises(DataError, match="document type"):
        read(bomb, name="tagged_xml", item="item")


@given(st.dictionaries(st.sampled_from("abc"), st.lists(words, min_size=2, max_size=2), min_size=1))
def test_json_lines_round_trip(columns):
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    assert read("\n".join(json.dumps(row) for row in rows), name="jsonl") == columns


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ({"name": "jsonl"}, '{{"text": "row {0}"}}'),
        ({"name": "csv", "columns": ["text"]}, "row {0}"),
        ({"name": "text"}, "row {0}"),
        ({"name": "text", "unit": "paragraph"}, "row\n  {0}\n"),
    ],
)
def test_a_long_file_is_read_in_several_batches_without_loss(form, line):
    num_rows = 2 * ROWS_AT_ONCE + 3
    content = "\n".join(line.format(i) for i in range(num_rows)).encode()
    parsed = TypeAdapter(Format).validate_python(form)
    batches = list(read_batches(lambda: io.BytesIO(content), parsed, where="file"))
    assert [len(batch["text"]) for batch in batches] == [ROWS_AT_ONCE, ROWS_AT_ONCE, 3]
    assert [text for batch in batches for text in batch["text"]] == [f"row {i}" for i in range(num_rows)]


def test_a_byte_that_cannot_be_decoded_is_found_far_into_a_file():
    content = b"good line\n" * 50_000 + b"caf\xe9\n"
    with pytest.raises(DataError, match="byte 0xe9 at line 50001"):
        read(content, name="text")


def test_utf_16_lines_end_where_its_line_feeds_are():
    text = "\u0a0a one\n\u0d0a two\n"  # code points whose bytes hold those of a line feed
    assert read(text.encode("utf-16"), name="text", encoding="utf-16") == {
        "text": ["\u0a0a one", "\u0d0a two"]
    }


SEMEVAL = """1\t"The <e1>system</e1> has an arrayed configuration-of <e2>antenna elements</e2>."
Component-Whole(e2,e1)
Comment: none

2\t"<e2>Elements</e2>, the <e1>child</e1>."
Other
Comment:
"""


def test_semeval_relations():
    assert read(SEMEVAL, name="semeval_relations") == {
        "id": ["1", "2"],
        "tokens": [
            ["The", "system", "has", "an", "arrayed", "configuration", "-", "of", "antenna", "elements", "."],
            ["Elements", ",", "the", "child", "."],
        ],
        "spans": [{"start": [1, 8], "end": [2, 10]}, {"start": [3, 0], "end": [4, 1]}],
        "label": ["Component-Whole(e2,e1)", "Other"],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('1\t"No <e1>span</e1>."\nOther\n', "file:1: the sentence has no <e2>"),
        ('1\t"A <e1>b</e1> <e2>c</e2>."\n', "file:1: no relation follows the sentence"),
    ],
)
def test_broken_semeval_relations(content, message):
    with pytest.raises(DataError, match=message):
        read(content, name="semeval_relations")


CROSSRE = {
    "doc_key": "d1",
    "sentence": ["Ada", "Lovelace", "left", "Rome", "for", "Bath"],
    "ner": [[0, 1, "person"], [3, 3, "city"], [5, 5, "city"]],
    "relations": [[0, 1, 3, 3, "origin", "", False, False], [0, 1, 3, 3, "physical", "", True, False]],
}


def test_relations_are_rows_of_pairs():
    """Last words are included there, and excluded here."""
    assert read(json.dumps(CROSSRE), name="relations", types=True) == {
        "id": ["d1"],
        "tokens": [CROSSRE["sentence"]],
        "spans": [{"start": [0, 3], "end": [2, 4], "type": ["person", "city"]}],
        "labels": [["origin", "physical"]],
        "label": [None],
    }


def test_pairs_without_a_relation_are_all_the_others():
    rows = read(json.dumps(CROSSRE), name="relations", no_relation="none")
    assert len(rows["label"]) == 3 * 2
    assert rows["label"].count("none") == 5
    assert rows["labels"][1:] == [[]] * 5


def test_sentences_without_relations_are_named():
    with pytest.raises(DataError, match=r"file:2: expected sentence, ner .*KeyError"):
        read(json.dumps(CROSSRE) + '\n{"sentence": ["a"]}\n', name="relations")


def test_squad_answers_are_distinct_and_impossible_questions_have_none():
    answers = [{"text": "Rome", "answer_start": 7}, {"text": "Ada", "answer_start": 0}] * 2
    qas = [
        {"id": "1", "question": "Where?", "answers": answers},
        {"id": "2", "question": "Who?", "is_impossible": True, "answers": [], "plausible_answers": answers},
    ]
    content = {"data": [{"title": "T", "paragraphs": [{"context": "Ada in Rome", "qas": qas}]}]}
    assert read(json.dumps(content), name="squad") == {
        "id": ["1", "2"],
        "title": ["T", "T"],
        "paragraph": ["T#0", "T#0"],
        "question": ["Where?", "Who?"],
        "context": ["Ada in Rome"] * 2,
        "answers": [[{"text": "Ada", "start": 0}, {"text": "Rome", "start": 7}], []],
    }
    with pytest.raises(DataError, match=r"file: expected data\[\].paragraphs.*KeyError\('answers'\)"):
        read('{"data": [{"paragraphs": [{"qas": [{}]}]}]}', name="squad")


SUBJQA = """item_id,q_review_id,question,review,human_ans_spans,human_ans_indices
i1,q1,How?,"Great food, slow staff! ANSWERNOTFOUND",slow staff !,"(12, 23)"
i1,q2,Who?,Great food! ANSWERNOTFOUND,ANSWERNOTFOUND,"(12, 26)"
i1,q3,What?,Great food! ANSWERNOTFOUND,food! ANSWERNOTFOUND,"(6, 26)"
"""


def test_subjqa_answers_are_where_the_indices_say():
    assert read(SUBJQA, name="subjqa") == {
        "id": ["q1", "q2", "q3"],
        "item": ["i1", "i1", "i1"],
        "question": ["How?", "Who?", "What?"],
        "context": ["Great food, slow staff!", "Great food!", "Great food!"],
        "answers": [[{"text": "slow staff!", "start": 12}], [], [{"text": "food!", "start": 6}]],
    }
    with pytest.raises(DataError, match="file:2: no human_ans_indices"):
        read(SUBJQA.replace("(12, 23)", "12-23"), name="subjqa")
