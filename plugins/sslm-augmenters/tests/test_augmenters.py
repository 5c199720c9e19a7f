"""What each augmenter does, against its paper's numbers."""

import json
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from pydantic import ValidationError
from sslm_augmenters.back_translation import BackTranslation, translator
from sslm_augmenters.characters import CharacterNoise
from sslm_augmenters.sentences import SentenceDeletion, SentenceShuffle, sentences_of
from sslm_augmenters.synonyms import RandomInsertion, SynonymReplacement, read_synonyms
from sslm_augmenters.wordnet import WordNetSynonyms, wordnet_synonyms
from sslm_augmenters.words import RandomDeletion, RandomSwap

from sslm_platform.api import SpecError, Word
from sslm_platform.plugins import host

WORDS = tuple("abcdefghijklmnopqrst")  # 20
SINGLE = [range(i, i + 1) for i in range(20)]
SYNONYMS = {"a": ["A"], "c": ["C", "CC"], "e": ["E"]}


def draws(augmenter, number=400, words=WORDS, groups=SINGLE):
    return [augmenter.augment(words, groups, np.random.default_rng(i)) for i in range(number)]


def test_a_swap_moves_two_words_for_each_of_n():
    for words in draws(RandomSwap(0.05)):  # n = 1
        assert sorted(w.text for w in words) == list(WORDS)
        assert sum(w.origin != place for place, w in enumerate(words)) == 2


def test_places_are_swapped_with_equal_chances():
    moved = Counter(
        p for words in draws(RandomSwap(0.05), 2000) for p, w in enumerate(words) if w.origin != p
    )
    assert all(abs(count - 200) < 5 * 13.4 for count in moved.values())  # binomial(2000, 0.1)
    assert len(moved) == 20


def test_deletion_has_its_probability_and_leaves_one_word():
    left = [len(words) for words in draws(RandomDeletion(0.3), 1000)]
    assert np.mean(left) == pytest.approx(14.0, abs=5 * (20 * 0.3 * 0.7 / 1000) ** 0.5)
    assert {len(words) for words in draws(RandomDeletion(1.0), 20)} == {1}


def test_a_chunk_goes_or_stays_as_a_whole():
    groups = [range(0, 3), range(3, 4), range(4, 6), *SINGLE[6:]]
    seen = set()
    for words in draws(RandomDeletion(0.5), groups=groups):
        origins = [w.origin for w in words]
        seen.add(tuple(o for o in origins if o in (0, 1, 2)))
    assert seen == {(), (0, 1, 2)}


def test_synonyms_replace_n_words_that_have_some():
    for words in draws(SynonymReplacement(0.1, SYNONYMS), 50):  # n = 2
        new = [w for place, w in enumerate(words) if w.text != WORDS[place]]
        assert len(new) == 2
        assert all(w.text in SYNONYMS[WORDS[w.origin]] for w in new)


def test_insertions_are_synonyms_and_everything_else_stays_in_order():
    places = Counter()
    for words in draws(RandomInsertion(0.05, SYNONYMS), 2000):
        (new,) = [place for place, w in enumerate(words) if w.text.isupper()]
        places[new] += 1
        assert words[new].text in SYNONYMS[WORDS[words[new].origin]]
        assert [w.text for place, w in enumerate(words) if place != new] == list(WORDS)
    assert set(places) == set(range(21))


TEXT = ["It", "rained", ".", "We", "met", "King", "Lear", ".", "Why", "?"]
CHUNKED = [*(range(i, i + 1) for i in range(5)), range(5, 8), range(8, 9), range(9, 10)]  # "King Lear ."


def test_sentences_change_places_with_equal_chances():
    seen = Counter(" ".join(w.text for w in d) for d in draws(SentenceShuffle(), 600, TEXT, CHUNKED))
    assert set(seen) == {
        f"{a} {b} {c}" for a, b, c in permutations(("It rained .", "We met King Lear .", "Why ?"))
    }
    assert all(abs(count - 100) < 5 * (600 * 5 / 36) ** 0.5 for count in seen.values())


def test_sentences_are_left_out_with_their_probability_and_one_stays():
    lengths = [
        len(sentences_of([w.text for w in d], [range(i, i + 1) for i in range(len(d))]))
        for d in draws(SentenceDeletion(0.3), 1000, TEXT, CHUNKED)
    ]
    expected = 3 * 0.7 + 0.3**3
    assert np.mean(lengths) == pytest.approx(expected, abs=5 * (3 * 0.21 / 1000) ** 0.5)
    assert min(lengths) == 1


def test_quotes_close_after_a_sentence_and_chunks_are_not_cut():
    words = ["He", "said", "“no.”", "U.S.", "Steel", "fell", "."]
    groups = [range(0, 1), range(1, 2), range(2, 3), range(3, 5), range(5, 6), range(6, 7)]
    cut = sentences_of(words, groups)
    assert [[i for group in sentence for i in group] for sentence in cut] == [[0, 1, 2], [3, 4, 5, 6]]


class Synset:
    def __init__(self, *names):
        self.names = names

    def lemma_names(self):
        return list(self.names)


def test_wordnet_gives_other_lemmas_of_one_word_and_none_for_words_of_form():
    class WordNet:
        def synsets(self, word):
            return [Synset(word, "Movie", "motion_picture"), Synset("flick")]

    synonyms = WordNetSynonyms(WordNet())
    assert synonyms["film"] == ("flick", "movie")
    assert "in" not in synonyms
    assert "3rd" not in synonyms
    changed = SynonymReplacement(0.5, synonyms).augment(
        ["the", "Film"], [range(0, 1), range(1, 2)], np.random.default_rng(0)
    )
    assert changed[0].text == "the"
    assert changed[1].text in ("flick", "movie")


@pytest.mark.slow
def test_the_real_wordnet_has_synonyms():
    synonyms = wordnet_synonyms()
    assert {"movie", "picture"} <= set(synonyms["films"])
    assert "xyzzy" not in synonyms


def test_noise_makes_one_error_in_its_share_of_the_words():
    words = ("keyboard",) * 20
    changed = [
        w.text for result in draws(CharacterNoise(0.25), 400, words) for w in result if w.text != "keyboard"
    ]
    # one in 4 errors puts another character in, which is the same one in 8 times
    expected = 400 * 20 * 0.25 * (1 - 0.25 / 8)
    assert len(changed) == pytest.approx(expected, abs=5 * (8000 * 0.25 * 0.75) ** 0.5)
    assert {len(text) for text in changed} == {7, 8, 9}
    assert set("".join(changed)) <= set("keyboard")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "must be an object of words"),
        ('{"a": ["b c"]}', "without spaces"),
        ("nonsense", "Expecting value"),
    ],
)
def test_files_that_are_no_synonyms_are_refused(content, message, tmp_path):
    path = tmp_path / "synonyms.json"
    path.write_text(content)
    with pytest.raises(SpecError, match=message):
        read_synonyms(str(path))
    with pytest.raises(SpecError, match="No such file"):
        read_synonyms(str(tmp_path / "other.json"))
    path.write_text(json.dumps(SYNONYMS))
    assert read_synonyms(str(path)) == SYNONYMS


def test_a_text_is_translated_there_and_back_once_and_kept_on_disk(tmp_path):
    asked = []

    def there(text):
        asked.append(text)
        return text.upper()

    def back(text):
        return text.lower().replace("cold", "chilly today")

    single = [range(0, 1), range(1, 2)]
    first = BackTranslation(there, back, "k", tmp_path / "made" / "texts.sqlite")
    expected = [Word("so", 0), Word("chilly", 1), Word("today", 1)]
    for augmenter in (first, first, BackTranslation(there, back, "k", tmp_path / "made" / "texts.sqlite")):
        assert augmenter.augment(["so", "cold"], single, np.random.default_rng(0)) == expected
    assert asked == ["so cold"]
    BackTranslation(there, back, "other", tmp_path / "made" / "texts.sqlite").augment(
        ["so", "cold"], single, np.random.default_rng(0)
    )
    assert len(asked) == 2, "of other translators"
    nothing = BackTranslation(lambda text: "", lambda text: "")
    assert nothing.augment(["a", "b"], single, np.random.default_rng(0)) == [Word("a", 0), Word("b", 1)]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"augment.options.there.run: .*is not a run's folder"):
        translator(str(tmp_path), "translation@x", "there")


def test_translators_are_known_by_their_trainings(tmp_path):
    definition = host().registry.augmenters.get("back_translation").definition
    for name in ("there", "back"):
        (tmp_path / name / "train").mkdir(parents=True)
    sides = {name: {"run": str(tmp_path / name), "task": "translation@x"} for name in ("there", "back")}
    options = definition.options(**sides)
    (tmp_path / "there" / "train" / "done.json").write_text('{"job": "one", "best_step": 4}')
    with pytest.raises(SpecError, match=r"options.back.run: .*no finished training .* with --out"):
        definition.reads(options)
    (tmp_path / "back" / "train" / "done.json").write_text('{"job": "two", "best_step": 4}')
    before = definition.reads(options)
    for damaged in ('{"job": ', "{}", "[]"):
        (tmp_path / "back" / "train" / "done.json").write_text(damaged)
        with pytest.raises(SpecError, match=r"options.back.run: .*done.json is damaged"):
            definition.reads(options)
    (tmp_path / "back" / "train" / "done.json").write_text('{"job": "three", "best_step": 4}')
    after = definition.reads(options)
    assert after["there"] == before["there"]
    assert after["back"] != before["back"]


def test_synonyms_stand_in_a_file_or_in_the_spec():
    options = {"share": 0.5, "words": {"good": ["fine"]}}
    definition = host().registry.augmenters.get("synonyms").definition
    built = definition.build(definition.options(**options))
    words = built.augment(["a", "good", "day"], [range(3)], np.random.default_rng(0))
    assert [word.text for word in words] == ["a", "fine", "day"]
    with pytest.raises(ValidationError, match="give path or words, not both"):
        definition.options(path="x.json", words={"good": ["fine"]})
    with pytest.raises(SpecError, match=r"augment.options.words: 'good' must have a list of words"):
        definition.build(definition.options(words={"good": ["very fine"]}))
