import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from sslm_platform.data.tags import tag_set, to_bio


def tag_lists(letters: str) -> st.SearchStrategy[list[str]]:
    tag = st.just("O") | st.builds("{}-{}".format, st.sampled_from(letters), st.sampled_from(["per", "x-y"]))
    return st.lists(tag, max_size=12)


@given(tag_lists("BIES"))
def test_iobes_keeps_the_chunks_that_seqeval_finds(tags):
    assert get_entities(to_bio(tags, "iobes")) == get_entities(tags)


@given(tag_lists("BI"))
def test_iob1_and_loose_bio_keep_the_chunks_that_seqeval_finds(tags):
    assert get_entities(to_bio(tags, "iob1")) == get_entities(tags)
    assert to_bio(tags, "bio") == to_bio(tags, "iob1")


@given(tag_lists("BI"))
def test_the_result_is_strict_bio(tags):
    previous = "O"
    for tag in to_bio(tags, "bio"):
        assert not tag.startswith("I-") or previous[2:] == tag[2:]
        previous = tag


@given(st.lists(st.sampled_from(["Street", "City", "O", "B-B"]), max_size=12))
def test_io_makes_each_run_a_chunk(tags):
    bio = to_bio(tags, "io")
    chunks = [(kind, start, end) for kind, start, end in get_entities(bio)]
    spelled = ["O"] * len(tags)
    for kind, start, end in chunks:
        assert start == 0 or tags[start - 1] != kind
        spelled[start : end + 1] = [kind] * (end + 1 - start)
    assert spelled == tags


def test_word_makes_each_tag_a_chunk():
    assert to_bio(["NOUN", "NOUN", "O", "X-Y"], "word") == ["B-NOUN", "B-NOUN", "O", "B-X-Y"]


def test_bilou_letters_are_read_as_iobes():
    assert to_bio(["B-a", "I-a", "L-a", "U-a", "O"], "iobes") == ["B-a", "I-a", "I-a", "B-a", "O"]


@pytest.mark.parametrize(
    ("tag", "scheme"), [("StreetName", "bio"), ("E-a", "bio"), ("B-", "iob1"), ("X-a", "iobes")]
)
def test_a_tag_of_another_scheme_is_refused(tag, scheme):
    with pytest.raises(ValueError, match=f"tag '{tag}' is not {scheme.upper()}.*scheme: io"):
        to_bio([tag], scheme)


def test_the_tag_set_has_both_letters_of_every_type():
    assert tag_set(["B-b", "O", "I-a"]) == ("O", "B-a", "I-a", "B-b", "I-b")
