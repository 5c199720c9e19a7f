"""Back-translation by two runs of the platform (Sennrich et al. 2016; UDA: Xie et al. 2020)."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from sslm_platform.api import Problem, SpecError, SslmError, Word, open_run

Translate = Callable[[str], str]
BUSY = 30.0  # seconds that a process waits for another one's write


class BackTranslation:
    """A text becomes what is left of it after a translation into another language and back.

    The translators' own search decides, not the generator: a text has one back-translation, so that it is
    made once, whatever the number of passes, and ``probability`` decides where it stands in its place.

    Args:
        there: into the pivot language.
        back: from it.
        key: what identifies the two, in the cache.
        cache: an SQLite file that ranks and runs share; None: memory.
    """

    def __init__(self, there: Translate, back: Translate, key: str = "", cache: Path | None = None) -> None:
        self._there = there
        self._back = back
        self._key = key
        self._cache = cache
        self._made: dict[str, str] = {}
        if cache is not None:
            cache.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(cache, timeout=BUSY)) as store, store:
                store.execute("CREATE TABLE IF NOT EXISTS texts (digest TEXT PRIMARY KEY, text TEXT)")

    def augment(
        self, words: Sequence[str], groups: Sequence[range], generator: np.random.Generator
    ) -> list[Word]:
        """Return the words of the back-translation; the text itself where nothing is left of it."""
        text = " ".join(words)
        if text not in self._made:
            self._made[text] = self._stored(text)
        found = self._made[text].split() or list(words)
        return [Word(word, min(place, len(words) - 1)) for place, word in enumerate(found)]

    def _stored(self, text: str) -> str:
        if self._cache is None:
            return self._back(self._there(text))
        digest = hashlib.sha256(json.dumps([self._key, text]).encode()).hexdigest()
        with closing(sqlite3.connect(self._cache, timeout=BUSY)) as store:
            row = store.execute("SELECT text FROM texts WHERE digest = ?", (digest,)).fetchone()
            if row is not None:
                return str(row[0])
            made = self._back(self._there(text))
            with store:
                store.execute("INSERT OR REPLACE INTO texts VALUES (?, ?)", (digest, made))
        return made


def translator(folder: str, task: str, where: str) -> Translate:
    """Return what a run's task says of a text.

    Raises:
        SpecError: the folder has no finished run, or the task generates no text.
    """
    try:
        run = open_run(folder)
    except SslmError as error:
        raise SpecError(Problem(f"augment.options.{where}.run", f"{folder}: {error}")) from None
    known = run.resolved.tasks
    if task not in known or not known[task].head.definition.emits.is_generated:
        texts = [name for name, one in known.items() if one.head.definition.emits.is_generated]
        what = f"{task!r} is no task of {folder} that generates text; these are: {', '.join(texts) or 'none'}"
        raise SpecError(Problem(f"augment.options.{where}.task", what))
    return lambda text: str(run.predict([text], task=task)[0]["generated"]) if text.strip() else ""


def identity(folder: str, task: str, where: str) -> list[str]:
    """Return what identifies a translator: its training, by content, and the task.

    Raises:
        SpecError: the folder has no finished training, or what says so is damaged.
    """
    try:
        done = json.loads((Path(folder) / "train" / "done.json").read_text(encoding="utf-8"))
        return [task, str(done["job"]), str(done.get("best_step", ""))]
    except OSError:
        what = f"{folder}: no finished training is there; train that run first, with --out {folder}"
    except (ValueError, KeyError, TypeError, AttributeError):
        what = f"{folder}: train/done.json is damaged; train that run again, with --out {folder}"
    raise SpecError(Problem(f"augment.options.{where}.run", what))
