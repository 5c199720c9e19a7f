import json

import numpy as np
import pytest

from sslm_platform.data.templates import Grammar, tagged, template_rows
from sslm_platform.errors import DataError

GRAMMAR = Grammar(
    {"light": "(light|lamp)[s]", "all": "all [of] <the>", "the": "the|my", "loop": "<loop>"},
    {"color": ["(dark|deep) blue", "red"], "n": ["1", "2"], "room": []},
)


def drawn(template: str, number: int = 400) -> set[str]:
    return {tagged(GRAMMAR.draw(template, np.random.default_rng(seed)))[0] for seed in range(number)}


@pytest.mark.parametrize(
    ("template", "sentences"),
    [
        ("(a|b c)", {"a", "b c"}),
        ("a [b|c]d", {"a d", "a bd", "a cd"}),
        ("x (a;[b])", {"x a", "x a b", "x b a"}),
        ("<light>", {"light", "lights", "lamp", "lamps"}),
        ("<all> x", {"all the x", "all my x", "all of the x", "all of my x"}),
        ("((a|b);(c|d))", {"a c", "c a", "a d", "d a", "b c", "c b", "b d", "d b"}),
        ("a|b|c", {"a", "b", "c"}),
        ("{n}%", {"1%", "2%"}),
    ],
)
def test_all_sentences_of_a_template_are_drawn_and_no_others(template, sentences):
    assert drawn(template) == sentences


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("(a", r"\( without its closing"),
        ("a]", r"\] without its opening in 'a\]'"),
        ("(a]", r"\( without its closing"),
        ("<lamp>", "no expansion rule <lamp>"),
        ("{room}", r"no values for {room}; give some in format.fill.room"),
        ("<loop>", "not a template: '<loop>'"),
        ("a > b", "not a template"),
    ],
)
def test_what_is_no_template_says_why(template, message):
    with pytest.raises(ValueError, match=message):
        drawn(template, 1)


def test_slots_are_tags_of_whole_words():
    rng = np.random.default_rng(0)
    text, tokens, tags = tagged(GRAMMAR.draw("set {color:shade} {n}{n} and {n}%", rng))
    assert text.split() == tokens
    assert tags[0] == "O"
    assert tags[-2:] == ["O", "B-n"]
    shade = [tag for tag in tags if tag.endswith("-shade")]
    assert shade in (["B-shade"], ["B-shade", "I-shade"])
    assert tags[1 + len(shade)] == "B-n"  # two values in one word: the first counts


def test_fillings_next_to_each_other_are_two():
    _, tokens, tags = tagged(GRAMMAR.draw("{n} {n}", np.random.default_rng(0)))
    assert (len(tokens), tags) == (2, ["B-n", "B-n"])


def test_chinese_characters_are_words():
    grammar = Grammar({}, {"area": ["客厅"], "n": ["20"]})
    text, tokens, tags = tagged(grammar.draw("把{area}的灯调到{n}%", np.random.default_rng(0)))
    assert text == "把客厅的灯调到20%"
    assert tokens == [*"把客厅的灯调到", "20%"]
    assert tags == ["O", "B-area", "I-area", "O", "O", "O", "O", "B-n"]


def document(**templates) -> str:
    intents = {name: {"data": [{"sentences": [t]}, {"sentences": [t]}]} for name, t in templates.items()}
    lists = {"n": {"range": {"from": 0, "to": 10, "step": 5}}, "room": {"wildcard": True}, "on": {"values": [
        {"in": "on", "out": 1}]}}  # fmt: skip
    return json.dumps({"intents": intents, "lists": lists, "expansion_rules": {}})


def test_rows_are_distinct_and_the_same_in_any_company():
    fill = {"room": ["hall", "attic"]}
    alone = list(template_rows(document(Set="{room} [to] {n}"), 50, fill, "file"))
    texts = [row["text"] for row in alone]
    assert len(texts) == len(set(texts)) == 2 * 2 * 3
    both = list(template_rows(document(Switch="{on}", Set="{room} [to] {n}"), 50, fill, "file"))
    assert both[1:] == alone
    switch = {"text": "on", "tokens": ["on"], "tags": ["B-on"]}
    assert both[0] == {**switch, "intent": "Switch", "template": "Switch: {on}"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "file: expected {intents"),
        ('{"intents": {}}', r"file: expected {intents: .*KeyError\('lists'\)"),
        (document(Set="{room}"), r"file: Set: no values for {room}; give some in format.fill.room"),
    ],
)
def test_files_that_are_no_templates(content, message):
    with pytest.raises(DataError, match=message):
        list(template_rows(content, 2, {}, "file"))
