"""Offsets in any script: what is read, marked, answered or moved is where the text has it."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sslm_objectives.span_cross_entropy import END, START, SpanCrossEntropy

from sslm_platform.data.encodings import encode_inputs
from sslm_platform.data.words import mark_spans, token_bytes
from sslm_platform.interfaces import Encoded
from sslm_platform.model.tokenizer import trained_tokenizer
from sslm_platform.spec.forms import InputForm
from sslm_platform.spec.schema import TokenizerTraining

SPACES = (" ", "\t", "\n", "\u00a0", "\u2003", "\u3000", "\r\n")
PIECES = (
    *("cafe\u0301", "caf\u00e9", "e\u0323\u0302", "\u1ec7", "ﬁn", "Straße", "İstanbul"),
    *("我爱北京", "天", "שָׁלוֹם", "مُحَمَّد", "\u202eabc\u202c", "नमस्ते", "ไทย", "각", "\u1100\u1161\u11a8"),
    *("👩\u200d👩\u200d👧", "🏳️\u200d🌈", "👍🏽", "🇨🇭", "\u200b", "\u200d", "\ufeff", "don't", "@", "#", "^"),
)
CHARACTERS = st.characters(exclude_categories=["Cs"])
piece = st.one_of(st.sampled_from(PIECES), st.text(CHARACTERS, min_size=1, max_size=5))
space = st.sampled_from(SPACES)
formed = st.sampled_from(["NFC", "NFD", "NFKC", "NFKD", ""])


@st.composite
def texts(draw, max_size=12):
    parts = draw(st.lists(st.tuples(piece, space), min_size=1, max_size=max_size))
    text = "".join(word + gap for word, gap in parts)
    form = draw(formed)
    return unicodedata.normalize(form, text) if form else text


words = st.lists(piece.filter(lambda w: not w.isspace()), min_size=2, max_size=10)


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "unigram"])
def tokenizer(request):
    corpus = ["a film with a plot, and a cast", *PIECES] * 3
    return trained_tokenizer(TokenizerTraining(vocabulary_size=400, model=request.param), corpus, 512)


@settings(deadline=None, max_examples=150)
@given(text=texts(), data=st.data())
def test_a_found_answer_is_the_text_at_its_offsets(tokenizer, text, data):
    """The rows labelled begin and end cover the answer, and no token that is outside it."""
    if not text.strip():
        return
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    (example,) = encode_inputs({"question": ["a plot"], "context": [text]}, tokenizer, 24)
    answers = {"context": text, "answers": [{"text": text[start:end], "start": start}]}
    example = Encoded(
        example.input_ids_L,
        example.special_L,
        {"answers": answers},
        window_S=example.window_S,
        offset_L2=example.offset_L2,
    )
    targets = SpanCrossEntropy().collate([example], []).targets
    table = {name: column.numpy() for name, column in targets.items()}
    for row in np.unique(table["row"]):
        own = table["row"] == row
        first, last = ((table["labels"] & bit > 0) & own for bit in (START, END))
        assert first.sum() == last.sum() <= 1
        if first.any():
            assert table["start"][first][0] <= start < table["end"][first][0]
            assert table["start"][last][0] < end <= table["end"][last][0]


@settings(deadline=None, max_examples=150)
@given(sentence=words, data=st.data())
def test_markers_are_before_the_words_of_their_spans(tokenizer, sentence, data):
    spans = {"start": [], "end": []}
    for _ in range(2):
        start = data.draw(st.integers(0, len(sentence) - 1))
        spans["start"].append(start)
        spans["end"].append(data.draw(st.integers(start + 1, len(sentence))))
    marked = mark_spans(sentence, spans)
    assert [marked.words[place] for place in marked.places] == sentence
    (example,) = encode_inputs({"tokens": [sentence], "spans": [spans]}, tokenizer, 512)
    (plain,) = encode_inputs({"tokens": [sentence]}, tokenizer, 512)
    for word, first in enumerate(plain.word_start_W):
        shown = example.input_ids_L[example.word_start_W[word] : example.word_end_W[word]]
        alone = plain.input_ids_L[first : plain.word_end_W[word]]
        assert (first < 0) == (example.word_start_W[word] < 0)
        if first >= 0:
            assert shown.tolist() == alone.tolist(), "a word's tokens are its own, with markers and without"
    for number, sign in enumerate("@#"):
        assert marked.words[marked.markers[number]] == sign
        inside = [p for p in example.word_start_W[spans["start"][number] : spans["end"][number]] if p >= 0]
        assert 0 < example.marker_S[number] < min([*inside, len(example.input_ids_L)])


@settings(deadline=None, max_examples=150)
@given(text=texts(), pair=texts(), max_length=st.integers(12, 60))
def test_bytes_of_tokens_add_up_to_what_was_read(tokenizer, text, pair, max_length):
    if not text.strip() or not pair.strip():
        return
    form = InputForm(num_bytes=True)
    (example,) = encode_inputs({"text": [text]}, tokenizer, 512, form)
    found = tokenizer(text, return_offsets_mapping=True)
    end = max((e for _, e in found["offset_mapping"]), default=0)
    assert example.num_bytes_L.sum() == len(text[:end].encode())
    assert (example.num_bytes_L[example.special_L.astype(bool)] == 0).all()
    (cut,) = encode_inputs({"text": [text], "text_pair": [pair]}, tokenizer, max_length, form)
    assert len(cut.num_bytes_L) == len(cut.input_ids_L)
    assert cut.num_bytes_L.sum() <= len(text.encode()) + len(pair.encode())


def test_a_character_of_several_tokens_is_counted_once():
    assert token_bytes(["a é"], [(0, 0), (0, 1), (1, 3), (1, 3)], [None, 0, 0, 0]).tolist() == [0, 1, 3, 0]
