"""Words to tokens and back in any script, and markers around spans."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sslm_platform.data.encodings import encode_inputs
from sslm_platform.data.words import mark_spans, word_bounds

SCRIPTS = (
    *("mañana", "我爱北京", "天", "שלום", "مرحبا", "مُحَمَّد", "नमस्ते"),
    *("👩\u200d👩\u200d👧", "🏳️\u200d🌈", "e\u0301", "\u200d", "don't", "@", "#"),
    *("\uff46\uff55", "\U0001d518\U0001d52b"),  # full-width, Fraktur
)
words = st.one_of(st.sampled_from(SCRIPTS), st.text(min_size=1, max_size=6).filter(lambda w: not w.isspace()))
sentences = st.lists(words, min_size=1, max_size=12)


@pytest.fixture(scope="module")
def tokenizer():
    """Each character is a token, but for white space and accents, which vanish as in BERT."""
    vocabulary = {name: i for i, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "@", "#", "a"])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split("", "isolated")]
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


@settings(deadline=None, max_examples=200)
@given(sentence=sentences, max_length=st.integers(4, 40))
def test_bounds_of_words_are_those_of_their_characters(tokenizer, sentence, max_length):
    """Against the tokenizer's own offsets: each token lies in the word whose bounds hold it, none in two."""
    (example,) = encode_inputs({"tokens": [sentence]}, tokenizer, max_length)
    result = tokenizer(
        sentence,
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        return_offsets_mapping=True,
    )
    owners = [None] * len(result["input_ids"])
    for word, (start, end) in enumerate(zip(example.word_start_W, example.word_end_W, strict=True)):
        assert (start, end) == (-1, 0) or 0 < start < end < len(owners)
        for position in range(max(start, 0), end):
            assert owners[position] is None
            owners[position] = word
            first, last = result["offset_mapping"][position]
            assert 0 <= first < last <= len(sentence[word])
    assert owners == result.word_ids()


def test_words_without_tokens_have_no_bounds():
    bounds = word_bounds([None, 0, 0, 2, None], 4)
    assert bounds.start.tolist() == [1, -1, 3, -1]
    assert bounds.end.tolist() == [3, 0, 4, 0]


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_marked_words_are_the_words_and_two_markers_a_span(data):
    sentence = data.draw(sentences)
    spans = {"start": [], "end": []}
    for _ in range(2):
        start = data.draw(st.integers(0, len(sentence) - 1))
        spans["start"].append(start)
        spans["end"].append(data.draw(st.integers(start + 1, len(sentence))))
    marked = mark_spans(sentence, spans)
    assert [marked.words[place] for place in marked.places] == sentence
    assert len(marked.words) == len(sentence) + 4
    for number, sign in enumerate("@#"):
        opening, first = marked.markers[number], marked.places[spans["start"][number]]
        last = marked.places[spans["end"][number] - 1]
        assert marked.words[opening] == sign
        assert opening < first
        assert sign in marked.words[last + 1 : last + 4]


def test_typed_markers_are_zhou_and_chens():
    """Zhou & Chen 2022, table 1."""
    spans = {"start": [0, 4], "end": [1, 5], "type": ["person", "city"]}
    text = " ".join(mark_spans(["Bill", "was", "born", "in", "Seattle", "."], spans).words)
    assert text == "@ * person * Bill @ was born in # ^ city ^ Seattle # ."


def test_markers_are_found_and_their_words_belong_to_none(tokenizer):
    spans = {"start": [2, 0], "end": [3, 2]}
    columns = {"tokens": [["a", "a", "a"]], "spans": [spans]}
    (example,) = encode_inputs(columns, tokenizer, 20)
    assert example.input_ids_L.tolist() == [2, 5, 6, 6, 5, 4, 6, 4, 3]
    assert example.marker_S.tolist() == [5, 1]
    assert example.word_start_W.tolist() == [2, 3, 6]
    (cut,) = encode_inputs(columns, tokenizer, 5)
    assert cut.marker_S.tolist() == [-1, 1]
