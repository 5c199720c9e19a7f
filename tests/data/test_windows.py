"""Windows of a long context: nothing is lost, and each character is where it was."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslm_platform.data.batching import collate_inputs
from sslm_platform.data.encodings import encode_inputs
from sslm_platform.model.tokenizer import trained_tokenizer
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
