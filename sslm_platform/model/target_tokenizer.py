"""Tokenizers of target texts: a head's own, trained on its tasks' targets, or the encoder's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from sslm_platform.errors import Problem, SpecError
from sslm_platform.model.backbone import pretrained_tokenizer
from sslm_platform.model.tokenizer import PAD, restored_tokenizer, trained_tokenizer
from sslm_platform.spec.schema import TargetTokenizer

SPECIAL_NAMES = ("pad_token", "unk_token", "bos_token", "eos_token", "cls_token", "sep_token")
LONGEST = 1 << 20  # objectives cut targets; a tokenizer's own limit only warns


class TargetCodec:
    """A fast ``transformers`` tokenizer as a :class:`~sslm_platform.generating.TextTokenizer`.

    Raises:
        SpecError: on construction, if nothing marks the start or the end of a text.
    """

    def __init__(self, tokenizer: Any, *, is_own: bool) -> None:
        # T5 starts from padding
        start = _first(tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.pad_token_id)
        end = _first(tokenizer.eos_token_id, tokenizer.sep_token_id)
        if start is None or end is None:
            what = (
                "the tokenizer marks no start or end of a text, which generation needs: give head.tokenizer"
            )
            raise SpecError(Problem("encoder", what))
        self._tokenizer = tokenizer
        self.is_own = is_own
        self.size = len(tokenizer)
        self.pad_id = int(tokenizer.pad_token_id)
        self.start_id, self.end_id = int(start), int(end)

    @property
    def content(self) -> str:
        """The tokenizer as JSON text."""
        backend = str(self._tokenizer.backend_tokenizer.to_str())
        special = {name: getattr(self._tokenizer, name) for name in SPECIAL_NAMES}
        special = {name: str(token) for name, token in special.items() if token is not None}
        trained = special.get("pad_token") == PAD
        return backend if trained else json.dumps({"special": special, "tokenizer": json.loads(backend)})

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's ids, without start and end."""
        found = self._tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)
        return [list(ids) for ids in found["input_ids"]]

    def unknown_rate(self, texts: Sequence[str]) -> float:
        """Return the share of the texts' tokens that are the unknown token."""
        tokens = [token for ids in self.encode(texts) for token in ids]
        return tokens.count(self._tokenizer.unk_token_id) / max(1, len(tokens))

    def lost_rate(self, texts: Sequence[str]) -> float:
        """Return the share of texts that come back changed (case, accents, characters); spacing apart."""
        pairs = zip(texts, self.decode(self.encode(texts)), strict=True)
        return sum("".join(a.split()) != "".join(b.split()) for a, b in pairs) / max(1, len(texts))

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts of ids; special tokens are left out."""
        return [text.strip() for text in self._tokenizer.batch_decode(ids, skip_special_tokens=True)]


def trained_codec(spec: TargetTokenizer, texts: Iterable[str], cache: Path | None = None) -> TargetCodec:
    """Return a tokenizer trained on these texts, in more than one pass."""
    return TargetCodec(trained_tokenizer(spec, texts, LONGEST, cache), is_own=True)


def pretrained_codec(path: str) -> TargetCodec:
    """Return the tokenizer of a folder or a hub name."""
    return TargetCodec(pretrained_tokenizer(path, "head.tokenizer.path"), is_own=True)


def saved_codec(content: str) -> TargetCodec:
    """Return the tokenizer of :attr:`TargetCodec.content`, a head's own."""
    parts = json.loads(content)
    if "special" in parts:
        backend = Tokenizer.from_str(json.dumps(parts["tokenizer"]))
        return TargetCodec(
            PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=LONGEST, **parts["special"]),
            is_own=True,
        )
    return TargetCodec(restored_tokenizer(content, LONGEST), is_own=True)


def _first(*ids: int | None) -> int | None:
    return next((token for token in ids if token is not None), None)
