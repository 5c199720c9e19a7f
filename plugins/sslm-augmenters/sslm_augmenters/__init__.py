"""Augmenters of training texts: the operations of EDA, and noise in characters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field, model_validator

from sslm_platform.api import Augmenter, AugmenterDef, Options, hookimpl


class ShareOptions(Options):
    """Options of an augmenter that changes some of a text's words."""

    share: float = Field(default=0.1, gt=0, le=1, description="Share of the text's words that it changes.")


class SynonymOptions(ShareOptions):
    """Options of an augmenter that reads synonyms."""

    path: str | None = Field(
        default=None, description="JSON file: lower-case word to its synonyms, each one word."
    )
    words: dict[str, list[str]] = Field(
        default_factory=dict, description="The same, in the spec; instead of `path`."
    )

    @model_validator(mode="after")
    def _one(self) -> SynonymOptions:
        if (self.path is None) != bool(self.words):
            raise ValueError("give exactly one of path, words")
        return self


@hookimpl
def sslm_augmenters() -> Iterable[AugmenterDef]:
    """Register the built-in augmenters."""
    return (
        AugmenterDef("random_swap", _swap, ShareOptions, "Words change places, two by two (EDA)."),
        AugmenterDef("random_deletion", _deletion, ShareOptions, "Words are left out (EDA)."),
        AugmenterDef(
            "random_insertion", _insertion, SynonymOptions, "Synonyms of words are put in anywhere (EDA)."
        ),
        AugmenterDef("synonyms", _synonyms, SynonymOptions, "Words are replaced by synonyms (EDA)."),
        AugmenterDef("character_noise", _noise, ShareOptions, "Words get a typing error."),
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

    return read_synonyms(options.path) if options.path else checked(options.words, "words")


def _noise(options: Any) -> Augmenter:
    from sslm_augmenters.characters import CharacterNoise

    return CharacterNoise(options.share)
