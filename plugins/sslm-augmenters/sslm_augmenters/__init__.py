"""Augmenters of training texts: the operations of EDA, and noise in characters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field, model_validator

from sslm_platform.api import Augmenter, AugmenterDef, Options, hookimpl


class ShareOptions(Options):
    """Options of an augmenter that changes some of a text's words."""

    share: float = Field(default=0.1, gt=0, le=1, description="Share of the text's words that it changes.")


class Translator(Options):
    """A task of a finished run that generates text."""

    run: str = Field(description="The run's folder.")
    task: str = Field(description="Its task, `name@domain`.")


class BackTranslationOptions(Options):
    """Options of ``back_translation``."""

    there: Translator = Field(
        description="Into another language: `run`, a finished run's folder, and `task`."
    )
    back: Translator = Field(description="From it.")
    cache: str | None = Field(
        default=None, description="SQLite file for what was translated, which ranks and runs share."
    )


class SentenceOptions(Options):
    """Options of ``sentence_deletion``."""

    share: float = Field(default=0.2, gt=0, lt=1, description="Probability that a sentence is left out.")


class SynonymOptions(ShareOptions):
    """Options of an augmenter that reads synonyms."""

    path: str | None = Field(
        default=None,
        description="JSON file: lower-case word to its synonyms, each one word; default, without `words`:"
        " WordNet (English; extra `sslm-augmenters[wordnet]`).",
    )
    words: dict[str, list[str]] = Field(
        default_factory=dict, description="The same, in the spec; instead of `path`."
    )

    @model_validator(mode="after")
    def _one(self) -> SynonymOptions:
        if self.path is not None and self.words:
            raise ValueError("give path or words, not both")
        return self


@hookimpl
def sslm_augmenters() -> Iterable[AugmenterDef]:
    """Register the built-in augmenters."""
    return (
        AugmenterDef("random_swap", _swap, ShareOptions, "Words change places, two by two (EDA)."),
        AugmenterDef("random_deletion", _deletion, ShareOptions, "Words are left out (EDA)."),
        AugmenterDef(
            "random_insertion",
            _insertion,
            SynonymOptions,
            "Synonyms of words are put in anywhere (EDA).",
            reads=_synonyms_read,
        ),
        AugmenterDef(
            "synonyms",
            _synonyms,
            SynonymOptions,
            "Words are replaced by synonyms (EDA).",
            reads=_synonyms_read,
        ),
        AugmenterDef("character_noise", _noise, ShareOptions, "Words get a typing error."),
        AugmenterDef(
            "back_translation",
            _back_translation,
            BackTranslationOptions,
            "Texts are translated by one run of the platform, and back by another.",
            rewrites=True,
            reads=_runs_read,
        ),
        AugmenterDef("sentence_shuffle", _shuffle, summary="Sentences change places."),
        AugmenterDef("sentence_deletion", _sentences, SentenceOptions, "Sentences are left out."),
    )


def _swap(options: Any) -> Augmenter:
    from sslm_augmenters.words import RandomSwap

    return RandomSwap(options.share)


def _deletion(options: Any) -> Augmenter:
    from sslm_augmenters.words import RandomDeletion

    return RandomDeletion(options.share)


def _insertion(options: Any) -> Augmenter:
    from sslm_augmenters.synonyms import RandomInsertion

    return RandomInsertion(options.share, _given(options))


def _synonyms(options: Any) -> Augmenter:
    from sslm_augmenters.synonyms import SynonymReplacement

    return SynonymReplacement(options.share, _given(options))


def _given(options: Any) -> Any:
    from sslm_augmenters.synonyms import checked, read_synonyms
    from sslm_augmenters.wordnet import wordnet_synonyms

    if options.words:
        return checked(options.words, "words")
    return wordnet_synonyms() if options.path is None else read_synonyms(options.path)


def _synonyms_read(options: Any) -> dict[str, str]:
    from sslm_augmenters.synonyms import digest_of

    return {} if options.path is None else {"path": digest_of(options.path)}


def _runs_read(options: Any) -> dict[str, str]:
    import json

    return {where: json.dumps(known) for where, known in _translators(options).items()}


def _translators(options: Any) -> dict[str, list[str]]:
    from sslm_augmenters.back_translation import identity

    sides = {"there": options.there, "back": options.back}
    return {where: identity(side.run, side.task, where) for where, side in sides.items()}


def _shuffle(options: Any) -> Augmenter:
    from sslm_augmenters.sentences import SentenceShuffle

    return SentenceShuffle()


def _sentences(options: Any) -> Augmenter:
    from sslm_augmenters.sentences import SentenceDeletion

    return SentenceDeletion(options.share)


def _noise(options: Any) -> Augmenter:
    from sslm_augmenters.characters import CharacterNoise

    return CharacterNoise(options.share)


def _back_translation(options: Any) -> Augmenter:
    import json
    from pathlib import Path

    from sslm_augmenters.back_translation import BackTranslation, translator

    there, back = options.there, options.back
    key = json.dumps(list(_translators(options).values()))
    cache = None if options.cache is None else Path(options.cache)
    translators = (translator(there.run, there.task, "there"), translator(back.run, back.task, "back"))
    return BackTranslation(*translators, key, cache)
