"""What definitions speak of: kinds of outputs, fields, evidence and attention. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OutputKind(StrEnum):
    """What a head emits, an objective scores and a metric reads (B examples in a batch).

    ===================== ======================= ============================================
    kind                  tensor                  prediction of one example
    ===================== ======================= ============================================
    ``sequence_logits``   (B, num_labels)         ``int``: a label's id
    ``sequence_values``   (B,)                    ``float``
    ``label_set_logits``  (B, num_labels)         ``ndarray`` (any,): the ids of its labels, rising
    ``token_logits``      (N, num_labels)         ``ndarray`` (words,): a tag's id for each word
    ``span_logits``       (N, 2)                  ``ndarray`` (2,): characters [start, end), or (-1, -1)
    ``vocabulary_logits`` (N, vocabulary size)    ``ndarray`` (targets,): a token's id each
    ``generated_text``    (N, vocabulary size)    ``str``
    ``vectors``           (N, any)                ``ndarray`` (any,): the vector of its first row
    ``choice_logits``     (N,)                    ``ndarray`` (any,): its candidates' places, best first
    ``ranking``           (N, any)                ``ndarray`` (any,): candidates' ids, best 1,000, best first
    ===================== ======================= ============================================

    N counts the batch's target positions; ``targets["example"]`` and ``targets["position"]`` (N,)
    say which example and which input token each row belongs to. A word that truncation cut off is
    predicted as ``"O"``, or as -1 (never right) where the labels have no ``"O"``.

    The rows of ``generated_text`` are tokens of target texts, each predicted from the ones before it
    (teacher forcing); ``position`` counts them from 0 in each example. Its head is a
    :class:`~sslm_platform.generating.GeneratingHead`, whose texts are made one token at a time.

    Rows of ``vectors`` are texts or parts of texts, to be compared with each other. ``row`` says which row of
    the states each is in, ``start`` and ``end`` which tokens of it, ``ahead`` how many parts later the one is
    that it is to be compared with, 0 where it stands for itself; ``position`` counts an example's rows.

    Rows of ``choice_logits`` are an example's candidates in their order. Those of ``ranking`` are as those of
    ``vectors``: an example's text, its answer, then texts that are none. The head ranks these two and more by
    the cosine with the text, and numbers them from 0, the answer; an evaluation ranks all distinct candidates
    of the split instead (see :mod:`~sslm_platform.ranking`).
    """

    SEQUENCE_LOGITS = "sequence_logits"
    SEQUENCE_VALUES = "sequence_values"
    LABEL_SET_LOGITS = "label_set_logits"
    TOKEN_LOGITS = "token_logits"
    SPAN_LOGITS = "span_logits"
    VOCABULARY_LOGITS = "vocabulary_logits"
    GENERATED_TEXT = "generated_text"
    VECTORS = "vectors"
    CHOICE_LOGITS = "choice_logits"
    RANKING = "ranking"

    @property
    def has_labels(self) -> bool:
        """Whether the head's width is the number of labels found in the data."""
        return self in (OutputKind.SEQUENCE_LOGITS, OutputKind.LABEL_SET_LOGITS, OutputKind.TOKEN_LOGITS)

    @property
    def is_generated(self) -> bool:
        """Whether predictions are made token by token, and the head may own a tokenizer."""
        return self is OutputKind.GENERATED_TEXT


class EvidenceKind(StrEnum):
    """What an estimator may read, and what it costs (see :mod:`sslm_platform.evidence`)."""

    FEATURES = "features"  # a trained source; the target encoded by it
    OUTPUTS = "outputs"  # the same
    TEXTS = "texts"  # each task's texts encoded once, by the pretrained encoder
    GRADIENTS = "gradients"  # a probe and some backward passes for each task, at the pretrained encoder
    LOG = "log"  # the joint run, with `balancer.log_affinity_every` or `log_gradients_every`

    @property
    def needs_source_model(self) -> bool:
        """Whether a model that was trained on the source is needed."""
        return self in (EvidenceKind.FEATURES, EvidenceKind.OUTPUTS)


class AttentionPattern(StrEnum):
    """Which tokens of its text a token's state may depend on; padding is never one of them."""

    BIDIRECTIONAL = "bidirectional"  # all
    CAUSAL = "causal"  # itself and those before it
    PREFIX = "prefix"  # these, and all of its text's first ``TaskBatch.prefix_B`` tokens


class FieldKind(StrEnum):
    """What a task reads from a row of its stream."""

    TEXT = "text"  # str
    TOKENS = "tokens"  # list[str]: words, split by the data
    SPANS = "spans"  # two spans of the tokens: {"start": [i, j], "end": [k, l]}, perhaps "type": [a, b]
    LABEL = "label"  # one of a closed set of names
    LABELS = "labels"  # any number of them, none included
    VALUE = "value"  # float
    ANSWERS = "answers"  # spans of the field context: [{"text": str, "start": int}, ...]; none: unanswerable
    TAGS = "tags"  # list[str], one for each of the tokens, BIO after loading
    TARGET_TEXT = "target_text"  # str, to be generated
    TEXTS = "texts"  # list[str]: candidates, each read by itself or with the text
    CHOICE = "choice"  # int: the place of the right one of the candidates, from 0

    @property
    def is_input(self) -> bool:
        """Whether the field is what the encoder reads (as against a target)."""
        return self in (FieldKind.TEXT, FieldKind.TOKENS, FieldKind.SPANS, FieldKind.TEXTS)

    @property
    def survives_augmentation(self) -> bool:
        """Whether it holds, or can follow, when an input's words are moved, replaced, dropped or repeated."""
        of_the_whole = (FieldKind.LABEL, FieldKind.LABELS, FieldKind.VALUE, FieldKind.TARGET_TEXT)
        follows = (FieldKind.TEXT, FieldKind.TOKENS, FieldKind.SPANS, FieldKind.TAGS)
        return self in (*follows, *of_the_whole)


@dataclass(frozen=True, slots=True)
class Field:
    """A field that an objective reads.

    ``instead_of`` names the field that it can stand for: a task has one of the two, text or words. A target
    text that is ``read`` is encoded after the text, for objectives that learn to write it there.
    """

    kind: FieldKind
    required: bool = True
    summary: str = ""
    instead_of: str = ""
    read: bool = False

    @property
    def is_read(self) -> bool:
        """Whether the encoder reads the field."""
        return self.kind.is_input or self.read
