"""Tokenizers trained on the streams' own training text, for encoders from scratch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from sslm_platform.files import write_once
from sslm_platform.spec.schema import TokenizerTraining

PAD, UNKNOWN, START, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SENTINEL = "<extra_id_{}>"
SPECIAL = [PAD, UNKNOWN, START, END, MASK]


def trained_tokenizer(
    spec: TokenizerTraining, texts: Iterable[str], max_length: int, cache: Path | None = None
) -> Any:
    """Return a tokenizer with BERT's special tokens, trained on these texts, in more than one pass.

    With ``cache``, all processes use the tokenizer that the first of them has trained: the Unigram trainer's
    scores differ in their last digits from one call to the next, and a model is bound to its tokenizer.
    """
    file = cache / "tokenizers" / f"{_key(spec, texts)}.json" if cache is not None else None
    if file is not None and file.exists():
        content = file.read_text(encoding="utf-8")
    else:
        content = _train(spec, texts).to_str()
        content = write_once(file, content) if file is not None else content
    return restored_tokenizer(content, max_length)


def restored_tokenizer(content: str, max_length: int) -> Any:
    """Return a tokenizer that :func:`trained_tokenizer` has made, from its JSON text."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(content),
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=START,
        sep_token=END,
        mask_token=MASK,
        model_max_length=max_length,
    )


def with_sentinels(tokenizer: Any, num: int) -> Any:
    """Add T5's ``<extra_id_0>``, … as special tokens, where there are fewer."""
    if num:
        names = [SENTINEL.format(i) for i in range(num)]
        tokenizer.add_special_tokens({"additional_special_tokens": names}, replace_extra_special_tokens=False)
    return tokenizer


def _key(spec: TokenizerTraining, texts: Iterable[str]) -> str:
    digest = hashlib.sha256(
        json.dumps([tokenizers.__version__, spec.model_dump(mode="json", exclude_none=True)]).encode()
    )
    for text in texts:
        digest.update(json.dumps(text).encode())
    return digest.hexdigest()[:40]


def _train(spec: TokenizerTraining, texts: Iterable[str]) -> Tokenizer:
    tokenizer = Tokenizer(_model(spec))
    steps = [normalizers.NFC()] + ([normalizers.Lowercase()] if spec.lowercase else [])
    tokenizer.normalizer = normalizers.Sequence(steps)
    trainer: Any
    if spec.model == "wordpiece":
        # Chinese has no spaces: a character is a word, as in BERT
        tokenizer.normalizer = normalizers.Sequence(
            [*steps, normalizers.BertNormalizer(lowercase=False, strip_accents=False)]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=spec.vocabulary_size,
            special_tokens=[*SPECIAL, *_continuations(tokenizer, texts)],
            show_progress=False,
        )
    elif spec.model == "bpe":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=spec.vocabulary_size,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=spec.vocabulary_size, special_tokens=SPECIAL, unk_token=UNKNOWN, show_progress=False
        )
    tokenizer.train_from_iterator(texts, trainer)
    if spec.model == "wordpiece":  # without what was special for the training only
        tokenizer = _rebuilt(tokenizer)
    start, end = (tokenizer.token_to_id(token) for token in (START, END))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        pair=f"{START} $A {END} $B:1 {END}:1",
        special_tokens=[(START, start), (END, end)],
    )
    return tokenizer


def _continuations(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Return ``##c`` for each character c inside words, sorted.

    The trainer numbers them in the order of a hash table, and breaks ties between pairs by number; given as
    special tokens they have their numbers before it starts, so that each training gives the same vocabulary.
    """
    found: set[str] = set()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            found.update(word[1:])
    return [f"##{character}" for character in sorted(found)]


def _rebuilt(trained: Tokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(trained.get_vocab(with_added_tokens=False), unk_token=UNKNOWN))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.normalizer, tokenizer.pre_tokenizer = trained.normalizer, trained.pre_tokenizer
    tokenizer.decoder = trained.decoder
    return tokenizer


def _model(spec: TokenizerTraining) -> Any:
    if spec.model == "wordpiece":
        return models.WordPiece(unk_token=UNKNOWN)
    return models.BPE() if spec.model == "bpe" else models.Unigram()
