import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOBES, Entities

from sslm_platform.data.tags import from_bio, is_well_formed, tag_set, to_bio


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


@pytest.mark.parametrize("scheme", ["bio", "iob1", "iobes"])
@given(tags=tag_lists("BI"))
def test_other_schemes_come_back_as_the_same_bio(scheme, tags):
    bio = to_bio(tags, "bio")
    written = from_bio(bio, scheme)
    assert to_bio(written, scheme) == bio
    assert is_well_formed(written, scheme)


@given(tag_lists("BI"))
def test_iobes_is_what_seqeval_reads_strictly(tags):
    bio = to_bio(tags, "bio")
    (found,) = Entities([from_bio(bio, "iobes")], IOBES).entities
    assert [(e.tag, e.start, e.end - 1) for e in found] == get_entities(bio)


@given(tag_lists("BIES"))
def test_iobes_is_well_formed_where_seqevals_strict_chunks_leave_nothing_over(tags):
    (found,) = Entities([tags], IOBES).entities
    covered = {place for entity in found for place in range(entity.start, entity.end)}
    assert is_well_formed(tags, "iobes") == (covered == {i for i, tag in enumerate(tags) if tag != "O"})


def test_what_breaks_a_scheme():
    assert not is_well_formed(["O", "I-a"], "bio")
    assert is_well_formed(["O", "I-a"], "iob1")
    assert not is_well_formed(["B-a", "O"], "iob1")
    assert is_well_formed(["B-a", "L-a", "U-b"], "iobes")
    assert is_well_formed(["anything", "O"], "io")
