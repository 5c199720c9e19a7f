"""Tokenizers trained on the streams' own training text, for encoders from scratch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from sslm_platform.spec.schema import TokenizerTraining

PAD, UNKNOWN, START, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = [PAD, UNKNOWN, START, END, MASK]


def train_tokenizer(spec: TokenizerTraining, texts: Iterable[str], max_length: int) -> Any:
    """Train a tokenizer with BERT's special tokens; the same texts in the same order give the same one."""
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
            vocab_size=spec.vocabulary_size, special_tokens=SPECIAL, show_progress=False
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
    start, end = (tokenizer.token_to_id(token) for token in (START, END))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        pair=f"{START} $A {END} $B:1 {END}:1",
        special_tokens=[(START, start), (END, end)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=START,
        sep_token=END,
        mask_token=MASK,
        model_max_length=max_length,
    )


def _model(spec: TokenizerTraining) -> Any:
    if spec.model == "wordpiece":
        return models.WordPiece(unk_token=UNKNOWN)
    return models.BPE() if spec.model == "bpe" else models.Unigram()
