"""Small synthetic examples, states, outputs and scores, all from a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslm_platform.data.windows import windows_of
from sslm_platform.interfaces import Encoded, Scored, Targets, TaskBatch
from sslm_platform.kinds import Field, FieldKind, OutputKind
from sslm_platform.testing import several, spans, vectors
from sslm_platform.testing.word_tokenizer import WordTokenizer
from sslm_platform.types import Vocabulary

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ORDINARY = tuple(f"##{id_}" if id_ % 3 == 0 else "." if id_ == 5 else f"word{id_}" for id_ in range(5, 40))
_SENTINELS = tuple(f"<extra_id_{number}>" for number in range(4))
_NUM_WORDS = len(_SPECIAL + _ORDINARY)
VOCABULARY = Vocabulary(
    _NUM_WORDS + len(_SENTINELS),
    pad_id=0,
    mask_id=4,
    special_ids=frozenset(range(5)),
    tokens=_SPECIAL + _ORDINARY + _SENTINELS,
)
CLS_ID, SEP_ID = 2, 3
WORDS = ("ash", "birch", "cedar", "elm", "fir", "gum", "hazel", "ivy", "juniper", "larch", "maple", "oak")
LABELS = ("negative", "neutral", "positive")
TAGS = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
HIDDEN_SIZE = 8
TOKENIZER = WordTokenizer(WORDS, VOCABULARY, CLS_ID, SEP_ID)
ROW_KINDS = frozenset({OutputKind.TOKEN_LOGITS, OutputKind.VOCABULARY_LOGITS})
TEXT_KINDS = frozenset({OutputKind.GENERATED_TEXT})
SPAN_KINDS = frozenset({OutputKind.SPAN_LOGITS})
VECTOR_KINDS = frozenset({OutputKind.VECTORS, OutputKind.RANKING})
CHOICE_KINDS = frozenset({OutputKind.CHOICE_LOGITS})
RANKED_KINDS = frozenset({OutputKind.CHOICE_LOGITS, OutputKind.RANKING})


def labels_of(kind: OutputKind) -> tuple[str, ...]:
    """Return the label names that go with a kind of output."""
    if kind is OutputKind.TOKEN_LOGITS:
        return TAGS
    return LABELS if kind.has_labels else ()


def width_of(kind: OutputKind) -> int | None:
    """Return the outputs' last dimension, None where they have only one; of vectors it is any."""
    if kind is OutputKind.SEQUENCE_VALUES or kind in CHOICE_KINDS:
        return None
    if kind in VECTOR_KINDS:
        return HIDDEN_SIZE
    if kind in SPAN_KINDS:
        return 2
    return len(labels_of(kind)) if kind.has_labels else VOCABULARY.size


def make_examples(
    needs: Mapping[str, Field], num: int = 6, seed: int = 0, *, partners: bool = False
) -> list[Encoded]:
    """Make examples of 1 to 9 words that have every field, ``[CLS]`` and ``[SEP]`` around them.

    With ``tokens``, words have one or two tokens and the second example's last word is cut off. Where two
    texts are required, a second one and its ``[SEP]`` follow.
    """
    rng = np.random.default_rng(seed)
    examples = [_example(needs, rng, int(rng.integers(1, 10)), cut=i == 1) for i in range(num)]
    return [replace(e, partner=examples[i - 1]) for i, e in enumerate(examples)] if partners else examples


def make_empty_example(needs: Mapping[str, Field]) -> Encoded:
    """Make an example of special tokens alone: its words, if any, were all cut off."""
    example = _example(needs, np.random.default_rng(1), 2, cut=False)
    starts_W = None if example.word_start_W is None else np.full(2, -1)
    return Encoded(
        np.array([CLS_ID, SEP_ID]),
        np.array([True, True]),
        example.values,
        np.array([0, 0]),
        starts_W,
        None if starts_W is None else np.zeros(2, dtype=np.int64),
    )


def make_generators(num: int, seed: int = 0) -> list[np.random.Generator]:
    """Make the generators of examples 0 to ``num`` - 1."""
    return [np.random.default_rng((seed, key)) for key in range(num)]


def make_hidden(examples: Sequence[Encoded], padding: int = 0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return hidden_BLD and mask_BL, a row for each window; states depend on its length and place only.

    Padding holds other values than zero, so that whoever reads it is found out.
    """
    lengths = [len(row) for e in examples for row in windows_of(e.input_ids_L, e.window_S)]
    hidden_BLD = torch.full((len(lengths), max(lengths) + padding, HIDDEN_SIZE), 7.0 + padding)
    mask_BL = torch.zeros(hidden_BLD.shape[:2], dtype=torch.int64)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(1000 * seed + row)
        hidden_BLD[row, :length] = torch.randn(length, HIDDEN_SIZE, generator=generator)
        mask_BL[row, :length] = 1
    return hidden_BLD, mask_BL


def make_outputs(kind: OutputKind, targets: Targets, keys: Sequence[int]) -> Tensor:
    """Make outputs whose rows depend on the example's key and the position, never on the batch."""
    width = width_of(kind)
    shape = () if width is None else (width,)
    if kind in ROW_KINDS | TEXT_KINDS | SPAN_KINDS | VECTOR_KINDS | CHOICE_KINDS:
        places = zip(targets["example"].tolist(), targets["position"].tolist(), strict=True)
        rows = [(keys[example], position) for example, position in places]
    else:
        rows = [(key, 0) for key in keys]
    drawn = [np.random.default_rng((9, *row)).normal(size=shape) for row in rows]
    return torch.tensor(np.array(drawn).reshape(len(rows), *shape), dtype=torch.float32)


def make_targets(kind: OutputKind, examples: Sequence[Encoded]) -> TaskBatch:
    """Make the targets that a head of this kind may count on, without any objective."""
    if kind in SPAN_KINDS:
        return spans.span_targets(examples)
    if kind in RANKED_KINDS:
        return several.several_targets(kind, examples)
    if kind in VECTOR_KINDS:
        return vectors.vector_targets(examples)
    if kind not in ROW_KINDS | TEXT_KINDS:
        dtype = torch.int64 if kind is OutputKind.SEQUENCE_LOGITS else torch.float32
        shape = (len(LABELS),) if kind is OutputKind.LABEL_SET_LOGITS else ()
        labels = torch.zeros((len(examples), *shape), dtype=dtype)
        lengths = torch.tensor([len(e.input_ids_L) for e in examples])
        targets = {"labels": labels, "markers": torch.stack([lengths - 1, lengths // 2], dim=1)}
        return TaskBatch(targets, torch.ones(len(examples)))
    rows = [(i, *row) for i, e in enumerate(examples) for row in _target_rows(kind, e)]
    table = torch.tensor(rows, dtype=torch.int64).reshape(-1, 4)
    targets = dict(zip(("example", "position", "word", "labels"), table.unbind(dim=1), strict=True))
    words = [0 if e.word_start_W is None else len(e.word_start_W) for e in examples]
    if kind is OutputKind.TOKEN_LOGITS:
        ends = [e.word_end_W for e in examples if e.word_end_W is not None]
        found = [int(ends[row[0]][row[2]]) for row in rows]
        targets["end"] = torch.tensor(found, dtype=torch.int64)
        targets |= {f"hidden_{name}": targets[name][::2] for name in ("example", "position")}
        targets["hidden_ids"] = torch.full_like(targets["hidden_position"], 7)
        targets["draw"] = (targets["hidden_position"] * 0.37) % 1.0
    weight_B = torch.bincount(targets["example"], minlength=len(examples)).float()
    if kind in TEXT_KINDS:
        targets["prefix"] = torch.tensor([_prefix(e) for e in examples])
    return TaskBatch({**targets, "num_words": torch.tensor(words)}, weight_B)


def _prefix(example: Encoded) -> int:
    segment_L = np.zeros(len(example.input_ids_L)) if example.segment_L is None else example.segment_L
    return int(np.count_nonzero(segment_L == 0))


def head_needs(kind: OutputKind, *, tied: bool = False) -> Mapping[str, Field]:
    """Return the fields of examples for a head of this kind; a tied one writes in the encoder."""
    if kind is OutputKind.TOKEN_LOGITS:
        return {"tokens": Field(FieldKind.TOKENS), "tags": Field(FieldKind.TAGS)}
    if kind in SPAN_KINDS:
        return spans.NEEDS
    if kind in RANKED_KINDS:
        return several.NEEDS[kind]
    target = {"target": Field(FieldKind.TARGET_TEXT, read=tied)} if kind in TEXT_KINDS else {}
    return {"text": Field(FieldKind.TEXT), **target}


def make_scored(kind: OutputKind, num: int = 40, seed: int = 0, accuracy: float = 0.7) -> Scored:
    """Make predictions that are right about ``accuracy`` of the time (values: that far from noise).

    Losses are 0 where ``accuracy`` is 1 and grow as it falls.
    """
    rng = np.random.default_rng(seed)
    references = [_reference(kind, rng) for _ in range(num)]
    predictions = [_prediction(kind, reference, accuracy, rng) for reference in references]
    sizes_N = np.array([float(np.size(reference)) for reference in references])
    losses_N = sizes_N * rng.uniform(0.5, 1.5, num) * 4 * (1 - accuracy)
    scores = [_scores(kind, prediction, accuracy, rng) for prediction in predictions]
    return Scored(predictions, references, losses_N, sizes_N, None if scores[0] is None else scores)


def _example(needs: Mapping[str, Field], rng: np.random.Generator, num_words: int, cut: bool) -> Encoded:
    kinds = {field.kind for field in needs.values()}
    if FieldKind.TEXTS in kinds:
        return several.make_example(needs, rng, VOCABULARY, (CLS_ID, SEP_ID))
    pieces = rng.integers(1, 3, num_words) if FieldKind.TOKENS in kinds else np.ones(num_words, np.int64)
    starts_W = 1 + np.cumsum(pieces) - pieces
    length = int(pieces.sum())
    if cut:
        length = int(pieces[:-1].sum())
        starts_W[-1] = -1
    texts = sum(field.kind is FieldKind.TEXT and field.required for field in needs.values())
    lengths = [length, *(int(rng.integers(1, 6)) for _ in range(texts - 1))]
    written = [_value(f.kind, rng, num_words, ()) for f in needs.values() if f.read]
    encoded = TOKENIZER.encode([str(text) for text in written])
    ids, special, segment = [CLS_ID], [True], [0]
    for number, size in enumerate([*lengths, *map(len, encoded)]):
        drawn = rng.integers(len(VOCABULARY.special_ids), _NUM_WORDS, size).tolist()
        ids += [*(drawn if number < len(lengths) else encoded[0]), SEP_ID]
        special += [*[False] * size, True]
        segment += [number] * (size + 1)
    is_split = FieldKind.TOKENS in kinds
    words = rng.choice(WORDS, size=lengths[-1]).tolist() if FieldKind.ANSWERS in kinds else []
    return Encoded(
        np.array(ids),
        np.array(special),
        {
            name: written[0] if f.read else _value(f.kind, rng, num_words, words)
            for name, f in needs.items()
            if not f.kind.is_input
        },
        np.array(segment),
        starts_W if is_split else None,
        np.where(starts_W < 0, 0, starts_W + pieces) if is_split else None,
        rng.integers(1, max(length, 1) + 1, size=2) if FieldKind.SPANS in kinds else None,
        offset_L2=spans.offsets_of(words, len(ids)) if words else None,
    )


def _value(kind: FieldKind, rng: np.random.Generator, num_words: int, context: Sequence[str]) -> object:
    if kind is FieldKind.ANSWERS:
        return spans.make_reference(context, rng)
    if kind is FieldKind.LABEL:
        return int(rng.integers(len(LABELS)))
    if kind is FieldKind.LABELS:
        return _label_set(rng)
    if kind is FieldKind.VALUE:
        return float(rng.normal())
    if kind is FieldKind.TARGET_TEXT:
        return " ".join(rng.choice(WORDS, size=num_words))
    return rng.integers(len(TAGS), size=num_words)


def _target_rows(kind: OutputKind, example: Encoded) -> list[tuple[int, int, int]]:
    if kind is OutputKind.TOKEN_LOGITS:
        assert example.word_start_W is not None
        starts = [(int(start), word) for word, start in enumerate(example.word_start_W) if start >= 0]
        return [(start, word, 0) for start, word in starts]
    if kind in TEXT_KINDS:
        ids = [*TOKENIZER.encode([example.values["target"]])[0], TOKENIZER.end_id]
        return [(position, 0, token) for position, token in enumerate(ids)]
    text = np.flatnonzero(~example.special_L)[::2]
    return [(int(position), 0, int(example.input_ids_L[position])) for position in text]


def _label_set(rng: np.random.Generator) -> np.ndarray:
    return np.flatnonzero(rng.random(len(LABELS)) < 0.5)


def _scores(kind: OutputKind, prediction: Any, accuracy: float, rng: np.random.Generator) -> Any:
    """Return probabilities that give this prediction; perfect predictions are sure."""
    sure = 1.0 if accuracy == 1.0 else rng.uniform(0.6, 1.0)
    if kind is OutputKind.SEQUENCE_LOGITS:
        probability_K = np.full(len(LABELS), (1 - sure) / (len(LABELS) - 1))
        probability_K[prediction] = sure
        return probability_K
    if kind is OutputKind.LABEL_SET_LOGITS:
        return np.where(np.isin(np.arange(len(LABELS)), prediction), sure, 1 - sure)
    return None


def _reference(kind: OutputKind, rng: np.random.Generator) -> Any:
    if kind is OutputKind.SEQUENCE_LOGITS:
        return int(rng.integers(len(LABELS)))
    if kind is OutputKind.SEQUENCE_VALUES:
        return float(rng.normal())
    if kind is OutputKind.LABEL_SET_LOGITS:
        return _label_set(rng)
    if kind in RANKED_KINDS:
        return several.make_reference(rng)
    if kind in VECTOR_KINDS:
        return None
    if kind in SPAN_KINDS:
        return spans.make_reference(rng.choice(WORDS, size=rng.integers(2, 9)).tolist(), rng)
    if kind in TEXT_KINDS:
        return " ".join(rng.choice(WORDS, size=rng.integers(4, 9)))
    ids = len(TAGS) if kind is OutputKind.TOKEN_LOGITS else VOCABULARY.size
    return rng.integers(ids, size=rng.integers(1, 8))


def _prediction(kind: OutputKind, reference: Any, accuracy: float, rng: np.random.Generator) -> Any:
    if kind is OutputKind.SEQUENCE_VALUES:
        return float(accuracy * np.asarray(reference) + (1 - accuracy) * rng.normal())
    if kind in RANKED_KINDS:
        return several.make_prediction(reference, accuracy, rng)
    if kind in VECTOR_KINDS:
        return rng.normal(size=HIDDEN_SIZE)
    if kind in SPAN_KINDS:
        return spans.make_prediction(reference, accuracy, rng)
    if kind is OutputKind.LABEL_SET_LOGITS:
        has_K = np.isin(np.arange(len(LABELS)), reference)
        return np.flatnonzero(np.where(rng.random(len(LABELS)) < accuracy, has_K, ~has_K))
    if kind in TEXT_KINDS:
        return " ".join(
            word if rng.random() < accuracy else str(rng.choice(WORDS)).upper()[::-1]
            for word in reference.split()
        )
    ids = len(labels_of(kind)) or VOCABULARY.size
    wrong = (np.asarray(reference) + rng.integers(1, ids, np.shape(reference))) % ids
    mixed = np.where(rng.random(np.shape(reference)) < accuracy, reference, wrong)
    return int(mixed) if kind is OutputKind.SEQUENCE_LOGITS else mixed
