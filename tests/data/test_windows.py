"""Windows of a long context: nothing is lost, and each character is where it was."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslm_platform.data.batching import collate_inputs
from sslm_platform.data.encodings import Encodings, Ragged, encode_inputs
from sslm_platform.data.words import word_bounds
from sslm_platform.model.tokenizer import trained_tokenizer
from sslm_platform.spec.forms import InputForm
from sslm_platform.spec.schema import TokenizerTraining

TEXTS = ["when did the plot move to Bath", "这家的菜好吃", "emoji 👩\u200d👩\u200d👧 שלום مرحبا café"] * 3
parts = st.sampled_from(["plot", "Bath", "\u200d", "👧", "菜", "שלום", "café", "  ", "\n", "e\u0301"])
contexts = st.lists(parts, min_size=1, max_size=60).map(" ".join).filter(lambda t: t.strip())


@pytest.fixture(scope="module", params=["wordpiece", "bpe"])
def tokenizer(request):
    return trained_tokenizer(TokenizerTraining(vocabulary_size=300, model=request.param), TEXTS, 64)


@settings(deadline=None, max_examples=100)
@given(context=contexts, max_length=st.integers(12, 40), question=contexts)
def test_windows_cover_the_context(tokenizer, context, max_length, question):
    (example,) = encode_inputs({"question": [question], "context": [context]}, tokenizer, max_length)
    offsets = example.offset_L2
    assert offsets.shape == (len(example.input_ids_L), 2)
    inside = offsets[:, 0] >= 0
    assert (offsets[inside, 0] < offsets[inside, 1]).all()
    assert offsets[inside, 1].max(initial=0) <= len(context)
    windows = np.split(np.arange(len(offsets)), example.window_S[1:])
    assert all(len(window) <= max_length for window in windows)
    whole = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert {tuple(o) for o in offsets[inside].tolist()} == {(s, e) for s, e in whole if e > s}
    for window in windows:
        assert example.input_ids_L[window[0]] == tokenizer.cls_token_id
        assert (np.diff(offsets[window][inside[window], 0]) >= 0).all()


def test_windows_are_rows_of_the_batch(tokenizer):
    columns = {"question": ["when", "when did"], "context": ["plot " * 20, "Bath"]}
    long, short = encode_inputs(columns, tokenizer, 14)
    inputs = collate_inputs([short, long], None, 0)
    num = len(long.window_S)
    assert num > 1
    assert len(inputs.input_ids_BL) == 1 + num
    rows = [row[mask].tolist() for row, mask in zip(inputs.input_ids_BL, inputs.mask_BL, strict=True)]
    assert rows[0] == short.input_ids_L.tolist()
    assert list(chain.from_iterable(rows[1:])) == long.input_ids_L.tolist()
    segments = [row[mask].tolist() for row, mask in zip(inputs.segment_BL, inputs.mask_BL, strict=True)]
    assert list(chain.from_iterable(segments[1:])) == long.segment_L.tolist()


words = st.one_of(parts.filter(str.strip), st.text(min_size=1, max_size=6), st.just("plotBath" * 4))
documents = st.lists(words, min_size=1, max_size=40)


@settings(deadline=None, max_examples=200)
@given(document=documents, max_length=st.integers(6, 40))
def test_each_word_is_read_where_most_is_around_it(tokenizer, document, max_length):
    """Against all windows: where all of a word is, at the place with the nearest edge farthest away."""
    (example,) = encode_inputs({"tokens": [document]}, tokenizer, max_length, InputForm(windows=True))
    edges = [*example.window_S, len(example.input_ids_L)]
    assert (np.diff(edges) <= max_length).all()
    whole = tokenizer(document, is_split_into_words=True, add_special_tokens=False)
    bounds = word_bounds(whole.word_ids(), len(document))
    room = max_length - tokenizer.num_special_tokens_to_add(pair=False)
    for word, (start, end) in enumerate(zip(bounds.start, bounds.end, strict=True)):
        first, last = example.word_start_W[word], example.word_end_W[word]
        assert (first < 0) == (start < 0), "a word with tokens is never cut off"
        if first < 0:
            continue
        shown = example.input_ids_L[first:last].tolist()
        number = int(np.searchsorted(edges, first, side="right")) - 1
        assert last <= edges[number + 1], "a word is in one window"
        if end - start <= room - room // 2:
            assert shown == whole["input_ids"][start:end], "and whole, where it fits"
        else:
            assert shown
        margin = min(first - edges[number], edges[number + 1] - last)
        if edges[1] < edges[-1] and end - start == 1 and 0 < number < len(edges) - 2:
            assert margin > room // 4 - 1, "at an inner window's middle, not at its edge"


def test_words_that_fit_are_read_as_without_windows(tokenizer):
    columns = {"tokens": [["plot", "moved", "to", "Bath"]]}
    (plain,) = encode_inputs(columns, tokenizer, 32)
    (example,) = encode_inputs(columns, tokenizer, 32, InputForm(windows=True))
    assert example.window_S.tolist() == [0]
    for name in ("input_ids_L", "special_L", "word_start_W", "word_end_W"):
        assert np.array_equal(getattr(example, name), getattr(plain, name))


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=6))
def test_how_many_windows_a_row_has_and_the_longest(rows):
    """``rows`` are the lengths of each row's windows; one without any has one length."""
    ids = pa.chunked_array([pa.array([[1] * sum(row) for row in rows], pa.list_(pa.int32()))])
    starts = [np.cumsum([0, *row[:-1]]).tolist() if len(row) > 1 else [] for row in rows]
    windows = pa.chunked_array([pa.array(starts, pa.list_(pa.int32()))])
    rest = dict.fromkeys(("segment", "word_start", "word_end", "marker", "offset", "num_bytes"))
    encodings = Encodings(input_ids=Ragged(ids), special=Ragged(ids), window=Ragged(windows), **rest)
    number_N, longest_N = encodings.windows()
    assert number_N.tolist() == [len(row) for row in rows]
    assert longest_N.tolist() == [max(row) for row in rows]
    assert replace(encodings, window=None).windows() is None
