"""Fields inside a template: its masks are where they belong, and it is never cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslm_platform.data.encodings import encode_inputs
from sslm_platform.errors import DataError
from sslm_platform.model.tokenizer import trained_tokenizer
from sslm_platform.spec.forms import InputForm, num_masks
from sslm_platform.spec.schema import TokenizerTraining

TEXTS = [
    "when did the plot move to Bath? It was great.",
    "这家的菜好吃",
    "emoji 👩\u200d👩\u200d👧 שלום مرحبا café",
] * 3
words = st.one_of(
    st.sampled_from(["plot", "[MASK]", "<mask>", "👩\u200d👧", "菜", "שלום", "e\u0301", "\u200d"]),
    st.text(min_size=1, max_size=6),
)
texts = st.lists(words, min_size=1, max_size=30).map(" ".join).filter(str.strip)
TEMPLATE = "{mask}! {text} ({text_pair}) It was {mask}{mask}."


@pytest.fixture(scope="module", params=["wordpiece", "bpe"])
def tokenizer(request):
    return trained_tokenizer(TokenizerTraining(vocabulary_size=300, model=request.param), TEXTS, 64)


@settings(deadline=None, max_examples=200)
@given(text=texts, pair=texts, max_length=st.integers(24, 48))
def test_masks_are_where_the_template_has_them(tokenizer, text, pair, max_length):
    form = InputForm(template=TEMPLATE)
    columns = {"text": [text], "text_pair": [pair]}
    (example,) = encode_inputs(columns, tokenizer, max_length, form)
    assert len(example.input_ids_L) <= max_length
    assert len(example.marker_S) == num_masks(TEMPLATE) == 3
    assert (example.input_ids_L[example.marker_S] == tokenizer.mask_token_id).all()
    first, second, third = example.marker_S
    assert first == 1
    assert third == second + 1
    end = tokenizer(".", add_special_tokens=False)["input_ids"]
    assert example.input_ids_L[third + 1 :].tolist() == [*end, tokenizer.sep_token_id]
    whole = TEMPLATE.replace("{mask}", tokenizer.mask_token).format(text=text, text_pair=pair)
    if len(tokenizer(whole)["input_ids"]) <= max_length:
        assert example.input_ids_L.tolist() == tokenizer(whole)["input_ids"]


def test_the_longer_field_is_cut(tokenizer):
    columns = {"text": ["plot " * 30], "text_pair": ["Bath"]}
    (example,) = encode_inputs(columns, tokenizer, 24, InputForm(template="{text} {mask} {text_pair}"))
    shown = tokenizer.decode(example.input_ids_L, skip_special_tokens=True)
    assert shown.endswith("Bath")
    assert 0 < shown.count("plot") < 21


def test_a_template_must_leave_room(tokenizer):
    form = InputForm(template="{text} " + "It was {mask}. " * 8)
    with pytest.raises(DataError, match=r"template alone is longer than encoder\.max_length"):
        encode_inputs({"text": ["plot"]}, tokenizer, 12, form)
