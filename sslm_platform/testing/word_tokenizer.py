"""A tokenizer of the texts that the checks make: a word is a token."""

from __future__ import annotations

from collections.abc import Sequence

from sslm_platform.types import Vocabulary


class WordTokenizer:
    """Numbers known words after the special tokens; see :class:`~sslm_platform.generating.TextTokenizer`."""

    def __init__(self, words: Sequence[str], vocabulary: Vocabulary, start_id: int, end_id: int) -> None:
        first = max(vocabulary.special_ids) + 1
        self.size = vocabulary.size
        self.pad_id, self.start_id, self.end_id = vocabulary.pad_id, start_id, end_id
        self._ids = {word: first + i for i, word in enumerate(words)}
        self._words = {token: word for word, token in self._ids.items()}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's ids."""
        return [[self._ids[word] for word in text.split()] for text in texts]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the known words of ids."""
        return [" ".join(self._words[token] for token in row if token in self._words) for row in ids]
