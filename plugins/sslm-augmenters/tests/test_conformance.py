"""The built-in augmenters keep the rules of augmenters."""

import json

import pytest

from sslm_platform.plugins import host
from sslm_platform.testing import checks_of, parametrize_with_checks


@parametrize_with_checks("random_swap")
def test_random_swap(check):
    check()


@parametrize_with_checks("random_deletion", options={"share": 0.9})
def test_random_deletion(check):
    check()


@parametrize_with_checks("character_noise", options={"share": 0.5})
def test_character_noise(check):
    check()


@parametrize_with_checks("sentence_shuffle")
def test_sentence_shuffle(check):
    check()


@parametrize_with_checks("sentence_deletion")
def test_sentence_deletion(check):
    check()


@pytest.mark.parametrize("name", ["synonyms", "random_insertion"])
def test_with_synonyms(name, tmp_path):
    path = tmp_path / "synonyms.json"
    words = {"film": ["movie"], "great": ["big", "fine"], "in": ["inside"], "word": ["term", "name"]}
    path.write_text(json.dumps(words | {"ada": ["Augusta"], "king": ["ruler"]}))
    checks = list(checks_of(host().registry.augmenters.get(name).definition, {"path": str(path)}))
    assert len(checks) > 4
    for check in checks:
        check()
