"""Where words begin in a text of subword tokens, from how the tokenizer writes them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

import numpy as np

from sslm_platform.api import PluginError, Vocabulary

CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
CONTINUES = "##"  # WordPiece marks what goes on,
BEGINS = ("▁", "Ġ")  # SentencePiece and byte-level BPE what comes after a space


class WordStarts:
    """Says which tokens begin a word.

    Words are what the tokenizer's marks join: of WordPiece without the punctuation, of the others all that is
    between spaces. A run of Chinese characters, which WordPiece takes one by one, has the words that the
    segmenter finds in it.

    Raises:
        PluginError: the tokenizer's tokens have no marks, or are bytes where a segmenter needs characters.
    """

    def __init__(self, vocabulary: Vocabulary, segmenter: str | None = None) -> None:
        self.tokens = vocabulary.tokens
        # a mark's characters may also be text, as of a heading in Markdown: most tokens decide
        number = {m: sum(token.startswith(m) for token in self.tokens) for m in (CONTINUES, *BEGINS)}
        found = max(number, key=number.__getitem__) if any(number.values()) else None
        mark = found if found in BEGINS else None
        if found == CONTINUES:
            self.begins_V = np.array([not token.startswith(CONTINUES) for token in self.tokens])
        elif mark is not None:
            self.begins_V = np.array([token.startswith(mark) for token in self.tokens])
        elif segmenter is not None:
            self.begins_V = np.ones(len(self.tokens), dtype=bool)
        else:
            raise PluginError(
                "objective 'mlm': the encoder's tokenizer does not mark where words begin; set unit: token"
            )
        if segmenter is not None and mark == "Ġ":
            raise PluginError(
                "objective 'mlm': segmenter reads characters, and the tokenizer's tokens are bytes"
            )
        self.cut = None if segmenter is None else _jieba()

    def __call__(self, ids_L: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return whether each of the tokens at some places begins a word, (C,) bool.

        Args:
            ids_L: a text's tokens.
            places: (C,), increasing; a word ends where one is left out.
        """
        starts_C = self.begins_V[ids_L[places]]
        apart_C = np.diff(places, prepend=-2) > 1
        if self.cut is not None:
            self._segment(ids_L[places], apart_C, starts_C)
        return starts_C | apart_C

    def _segment(self, ids_C: np.ndarray, apart_C: np.ndarray, starts_C: np.ndarray) -> None:
        """Overwrite what is known of the tokens inside runs of Chinese characters."""
        texts = [self.tokens[i].removeprefix(CONTINUES).removeprefix("▁") for i in ids_C]
        chinese = [CHINESE.fullmatch(text) is not None for text in texts]
        begin = 0
        while begin < len(texts):
            end = begin + 1
            while chinese[begin] and end < len(texts) and chinese[end] and not apart_C[end]:
                end += 1
            if chinese[begin]:
                assert self.cut is not None
                ends = set(np.cumsum([len(word) for word in self.cut("".join(texts[begin:end]))]).tolist())
                offset_R = np.cumsum([len(text) for text in texts[begin:end]])[:-1]
                starts_C[begin + 1 : end] = [int(offset) in ends for offset in offset_R]
            begin = end


def _jieba() -> Callable[[str], list[str]]:
    try:
        cut: Callable[[str], list[str]] = importlib.import_module("rjieba").cut
        return cut
    except ImportError:
        raise PluginError(
            "objective 'mlm': segmenter jieba needs `pip install 'sslm-objectives[zh]'`"
        ) from None
