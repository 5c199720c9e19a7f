"""Training texts that are changed, their tags with them."""

import numpy as np
import pytest

from sslm_platform.augmenting import Word
from sslm_platform.data.augment import complaint_about, groups_of
from sslm_platform.errors import PluginError, SpecError
from sslm_platform.evaluate import make_batch

SWAP = [{"name": "random_swap", "probability": 0.7}, {"name": "random_deletion", "probability": 0.5}]


@pytest.fixture
def augmented(specs):
    """Return a function that makes a stream's corpus, feed, augmentation and models."""
    from sslm_platform.train.model import build_model

    def make(stream, augment=SWAP):
        content = specs.content(stream)
        content["streams"][0]["augment"] = augment
        corpus = specs.corpus(content)
        tasks = list(corpus.run.tasks.values())
        feeds = corpus.feeds(tasks, 3)
        return corpus, feeds, corpus.augmentations(feeds), build_model(corpus, tasks, 3).tasks

    return make


def batch_of(made, rows, epoch=0, feed=None):
    corpus, feeds, augmentations, models = made
    name = feed or next(iter(feeds))
    own = {task: models[task] for task in feeds[name].tasks}
    args = (np.array(rows), own, corpus.vocabulary.pad_id, 3, epoch)
    return make_batch(feeds[name].splits["train"], *args, augmentation=augmentations.get(name))


def test_groups_are_the_chunks_of_all_taggings():
    assert groups_of(5, []) == [range(i, i + 1) for i in range(5)]
    names = ["B-PER", "I-PER", "O", "B-LOC", "B-LOC"]
    places = ["O", "O", "O", "B-X", "I-X"]
    assert groups_of(5, [names]) == [range(2), range(2, 3), range(3, 4), range(4, 5)]
    assert groups_of(5, [names, places]) == [range(2), range(2, 3), range(3, 5)]
    assert groups_of(2, [["I-PER", "O"]]) == [range(1), range(1, 2)]


def test_complaints():
    groups = [range(2), range(2, 3)]
    words = [Word("a", 0), Word("b", 1), Word("c", 2)]
    assert complaint_about(words, groups) == ""
    assert complaint_about([words[2], words[0], words[1], words[2]], groups) == ""
    assert complaint_about([words[2]], groups) == ""
    for wrong in ([words[1], words[0]], [words[0], words[2], words[1]], [words[0]], [*words, *words]):
        assert "in one piece" in complaint_about(wrong, groups)


def test_tags_follow_their_words_to_the_token(augmented):
    """Each name in the texts has one tag, so a tag that went astray would stand at another word's token."""
    made = augmented("names")
    _, feeds, _, models = made
    task = next(iter(models))
    labels = models[task].labels
    split = feeds["names"].splits["train"]
    tag_of = {}
    for example in split.encoded(task, range(len(split)), labels):
        for start, tag in zip(example.word_start_W, example.values["tags"], strict=True):
            tag_of.setdefault(int(example.input_ids_L[start]), set()).add(int(tag))
    assert sum(len(tags) == 1 for tags in tag_of.values()) > 5
    changed = 0
    for epoch in range(5):
        batch = batch_of(made, range(40), epoch)
        for example, original in zip(
            batch.examples[task], split.encoded(task, range(40), labels), strict=True
        ):
            tags = example.values["tags"]
            assert len(tags) == len(example.word_start_W)
            changed += not np.array_equal(example.input_ids_L, original.input_ids_L)
            for start, tag in zip(example.word_start_W, tags, strict=True):
                assert int(tag) in tag_of[int(example.input_ids_L[start])]
            names = [labels[i] for i in tags]
            inside = [i for i, name in enumerate(names) if name.startswith("I-")]
            assert all(i and names[i - 1][2:] == names[i][2:] for i in inside)
    assert 100 < changed < 200


def test_the_example_and_the_pass_alone_decide(augmented):
    made = augmented("films")
    whole, part = batch_of(made, range(30)), batch_of(made, [7, 3])
    for task, examples in part.examples.items():
        for example, row in zip(examples, (7, 3), strict=True):
            assert np.array_equal(example.input_ids_L, whole.examples[task][row].input_ids_L)
            assert example.values == whole.examples[task][row].values
    texts = [
        [tuple(e.input_ids_L) for e in next(iter(batch_of(made, range(30), n).examples.values()))]
        for n in (0, 1)
    ]
    assert texts[0] != texts[1]


def test_what_is_not_changed_is_as_on_the_disk(augmented):
    made = augmented("films", [{"name": "random_swap", "probability": 0.4}])
    feeds = made[1]
    batch = batch_of(made, range(100))
    task = next(iter(batch.examples))
    labels = made[3][task].labels
    originals = feeds[next(iter(feeds))].splits["train"].encoded(task, range(100), labels)
    same = [
        np.array_equal(a.input_ids_L, b.input_ids_L)
        for a, b in zip(batch.examples[task], originals, strict=True)
    ]
    assert 40 <= sum(same) <= 80  # binomial(100, 0.6), 4 standard deviations
    assert all(a.values == b.values for a, b in zip(batch.examples[task], originals, strict=True))


def test_a_pair_is_changed_in_both_texts_and_stays_a_pair(augmented):
    made = augmented("pairs", [{"name": "random_deletion", "probability": 1.0, "options": {"share": 0.5}}])
    batch = batch_of(made, range(10))
    (examples,) = batch.examples.values()
    assert all(set(example.segment_L) == {0, 1} for example in examples)


class Breaks:
    def augment(self, words, groups, generator):
        return []


def test_an_augmenter_that_breaks_its_rules_is_named(augmented):
    from dataclasses import replace

    corpus, feeds, augmentations, models = augmented("films")
    broken = {name: replace(a, steps=[(Breaks(), 1.0)]) for name, a in augmentations.items()}
    with pytest.raises(PluginError, match="augmenter Breaks: no word is left"):
        batch_of((corpus, feeds, broken, models), range(3))


def test_fields_that_name_places_are_refused(specs, monkeypatch):
    from sslm_platform.kinds import FieldKind

    content = specs.content("films")
    content["streams"][0]["augment"] = [{"name": "random_swapp"}]
    with pytest.raises(
        SpecError, match=r"streams\[0\].augment\[0\].name: unknown augmenter 'random_swapp'; did you mean"
    ):
        specs.resolve(content)
    content["streams"][0]["augment"] = SWAP
    monkeypatch.setattr(
        FieldKind, "survives_augmentation", property(lambda kind: kind is not FieldKind.VALUE)
    )
    with pytest.raises(
        SpecError, match=r"augment: rating@film has value, a field of kind value: it names places"
    ):
        specs.resolve(content)
