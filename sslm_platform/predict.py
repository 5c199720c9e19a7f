"""A trained model's answers for new text, from the model folder alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslm_platform.data.batching import collate_inputs
from sslm_platform.data.encodings import encode_inputs
from sslm_platform.data.tags import Scheme, from_bio
from sslm_platform.errors import Problem, RunError, SslmError, suggest
from sslm_platform.evaluate import best_of, evaluation_batches, input_tensors
from sslm_platform.interfaces import DecidingHead, Encoded, ListingHead, rows_by_example
from sslm_platform.kinds import AttentionPattern, FieldKind, OutputKind
from sslm_platform.model.backbone import load_tokenizer, vocabulary_of
from sslm_platform.model.continuing import Continuation, keeps_states
from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.model.multitask import TaskHead, task_outputs
from sslm_platform.model.store import check_model, read_heads
from sslm_platform.model.target_tokenizer import TargetCodec, saved_codec
from sslm_platform.model.task_adapter import give_adapters
from sslm_platform.spec.resolved import ResolvedRun
from sslm_platform.spec.schema import EncoderSpec
from sslm_platform.train.model import encoder_weights
from sslm_platform.types import HeadContext, ObjectiveContext

BATCH_TOKENS = 4096
NUM_BEST = 5  # answers to a question that are listed


class Predictor:
    """One task of a finished run, ready to answer.

    Args:
        run: the run's resolved spec.
        model: its model folder.
        identity: the task, ``name@domain``.

    Raises:
        RunError: the run has no such task or no trained model.
    """

    def __init__(self, run: ResolvedRun, model: Path, identity: str) -> None:
        if identity not in run.tasks:
            raise RunError(f"unknown task {identity!r}{suggest(identity, run.tasks)}")
        if not (model / "encoder").is_dir():
            raise RunError(Problem(str(model), "no trained model; run `sslm train` first"))
        self.task = run.tasks[identity]
        self.emits = self.task.head.definition.emits
        if self.emits is OutputKind.VOCABULARY_LOGITS:
            raise RunError(f"{identity}: a language model's head has no prediction for a text")
        if self.task.objective.definition.labels:
            raise RunError(f"{identity}: its objective makes texts and labels of its own; nothing to predict")
        attention = self.task.objective.definition.attention
        if self.emits is OutputKind.VECTORS and attention is not AttentionPattern.BIDIRECTIONAL:
            raise RunError(f"{identity}: its vectors are of a text's segments; there is none of a text")
        self.max_length = run.spec.encoder.max_length
        self.room = self.task.target_room(self.max_length)
        adapter = run.spec.encoder.adapter
        own = adapter if adapter is not None and adapter.per == "task" else None
        spec = EncoderSpec(path=str(model / "encoder"), max_length=self.max_length, adapter=own)
        self.tokenizer = load_tokenizer(spec)
        self._load(spec, model)

    def _load(self, spec: EncoderSpec, model: Path) -> None:
        from sslm_platform.model.backbone import load_backbone

        check_model(model)
        self.encoder = SharedEncoder(load_backbone(spec, self.tokenizer, 0))
        if spec.adapter is None:
            self.encoder.load_state_dict(encoder_weights(model))
        size = self.encoder.backbone.get_input_embeddings().num_embeddings
        heads = read_heads(model)
        if self.task.head_key not in heads:
            raise RunError(Problem(str(model), f"has no head {self.task.head_key!r}; train this spec again"))
        info, state = heads[self.task.head_key]
        self.labels = info.labels
        codec = None
        if self.emits.is_generated or self.task.head.definition.reads_masks:
            own = info.tokenizer
            codec = saved_codec(own) if own else TargetCodec(self.tokenizer, is_own=False)
        context = HeadContext(
            self.encoder.hidden_size,
            size,
            info.labels,
            codec,
            info.facts,
            num_masks=self.task.num_masks,
            norm_eps=self.encoder.norm_eps,
        )
        head = self.task.head.build(context)
        if spec.adapter is not None:
            give_adapters(self.encoder.backbone, [head])
        head.load_state_dict(state)
        self.head = TaskHead(head, self.task.head.definition.tied)
        vocabulary = vocabulary_of(self.tokenizer)
        self.objective = self.task.objective.build(
            ObjectiveContext(self.emits, vocabulary, info.labels, tokenizer=codec)
        )
        self.pad_id = vocabulary.pad_id
        writes = self.emits.is_generated and self.head.tied
        self.kept = self.encoder.backbone if writes and keeps_states(self.encoder.backbone) else None
        self.encoder.eval()
        head.eval()

    def __call__(
        self,
        texts: Sequence[str | Mapping[str, Any]],
        candidates: Sequence[str] = (),
        scheme: Scheme = "bio",
    ) -> list[dict[str, Any]]:
        """Answer for texts, or for mappings of the task's input fields; ``scheme`` is that of tags.

        A task that ranks looks among ``candidates``, or those that an input has in a field of this name.

        Returns:
            For each input: its fields and ``label`` or ``labels`` with ``probabilities``, ``value``, ``tags``
            with ``probability`` (of each word's tag), ``generated``, a text, and perhaps ``others``, the next
            best ones, ``vector``, numbers, ``choice``, a place with ``probabilities``, or ``ranking``, texts
            with their cosines, best first.

        Raises:
            SslmError: an input is empty or lacks a field.
        """
        if self.emits is OutputKind.RANKING:
            return self._ranked(texts, list(dict.fromkeys(candidates)))
        inputs = [self._fields(text, index) for index, text in enumerate(texts)]
        answers = self._answers(inputs)
        for answer in answers:
            if "tags" in answer and None not in answer["tags"]:
                answer["tags"] = from_bio(answer["tags"], scheme)
        return [{**row, **answer} for row, answer in zip(inputs, answers, strict=True)]

    def _answers(self, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answer for inputs that have all fields."""
        if not inputs:
            return []
        columns = {n: [row[n] for row in inputs] for n in inputs[0]}
        form = self.task.form
        encoded = encode_inputs(columns, self.tokenizer, self.max_length, form, self.room)
        examples = [self._with_blank_targets(e, row) for e, row in zip(encoded, inputs, strict=True)]
        answers: list[dict[str, Any]] = [{} for _ in inputs]
        lengths_N = np.array([len(e.input_ids_L) for e in examples])
        with torch.no_grad():
            for rows in evaluation_batches(lengths_N, BATCH_TOKENS):
                batch = [examples[row] for row in rows]
                for row, answer in zip(rows, self._answer(batch), strict=True):
                    answers[row] = answer
        return answers

    def _ranked(
        self, inputs: Sequence[str | Mapping[str, Any]], shared: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Rank each input's own candidates, or those that all share, by the cosine with its text."""
        rows = [{"text": given} if isinstance(given, str) else dict(given) for given in inputs]
        pools = [row.get("candidates", shared) for row in rows]
        for index, (row, pool) in enumerate(zip(rows, pools, strict=True)):
            if not isinstance(row.get("text"), str) or not row["text"].strip():
                raise SslmError(f"input {index + 1}: text is missing or empty")
            if not pool or isinstance(pool, str) or not _is_of(FieldKind.TEXTS, list(pool)):
                raise SslmError(f"input {index + 1}: candidates should be {_NAMES[FieldKind.TEXTS]}")
        vectors = self._vectors(
            [text for row, pool in zip(rows, pools, strict=True) for text in (row["text"], *pool)]
        )
        return [
            {
                "text": row["text"],
                "ranking": _best(vectors[row["text"]], {text: vectors[text] for text in pool}),
            }
            for row, pool in zip(rows, pools, strict=True)
        ]

    def _vectors(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Encode each distinct text once."""
        distinct = list(dict.fromkeys(texts))
        answers = self._answers([{"text": text, "answer": text} for text in distinct])
        return {text: answer["vector"] for text, answer in zip(distinct, answers, strict=True)}

    def _fields(self, given: str | Mapping[str, Any], index: int) -> dict[str, Any]:
        needs = {name: f for name, f in self.task.needs.items() if f.kind.is_input}
        wanted = [name for name in needs if name in self.task.spec.fields]
        if isinstance(given, str):
            if len(wanted) > 1:
                raise SslmError(
                    f"input {index + 1}: {self.task.identity} needs the fields {', '.join(wanted)}"
                )
            is_words = needs[wanted[0]].kind is FieldKind.TOKENS
            given = {wanted[0]: given.split() if is_words else given}
        for name in wanted:
            if not given.get(name) or (isinstance(given[name], str) and not given[name].strip()):
                raise SslmError(f"input {index + 1}: {name} is missing or empty")
            if not _is_of(needs[name].kind, given[name]):
                what = _NAMES[needs[name].kind]
                raise SslmError(f"input {index + 1}: {name} should be {what}; got {given[name]!r}")
        return {name: given[name] for name in wanted}

    def _with_blank_targets(self, example: Encoded, row: Mapping[str, Any]) -> Encoded:
        """Objectives make a head's positions together with its targets, so there must be some."""
        blank: dict[FieldKind, Any] = {
            FieldKind.LABEL: 0,
            FieldKind.LABELS: np.zeros(0, dtype=np.int64),
            FieldKind.VALUE: 0.0,
            FieldKind.TARGET_TEXT: "",
            FieldKind.CHOICE: 0,
        }
        if "context" in row:
            blank[FieldKind.ANSWERS] = {"context": row["context"], "answers": []}
        if "tokens" in row:
            blank[FieldKind.TAGS] = np.zeros(len(row["tokens"]), dtype=np.int64)
        values = {n: blank[f.kind] for n, f in self.task.needs.items() if not f.kind.is_input}
        return replace(example, values=values)

    def _answer(self, examples: Sequence[Encoded]) -> Iterable[dict[str, Any]]:
        generators = [np.random.default_rng(0) for _ in examples]
        if self.emits.is_generated:
            return self._generated(examples, generators)
        batch = self.objective.collate(examples, generators)
        targets = batch.targets
        tensors, _ = input_tensors(self.task.objective.definition, examples, batch, self.pad_id)
        name = self.task.identity
        outputs = task_outputs(self.encoder, {name: self.head}, tensors, {name: targets})[name]
        predictions = self.head.module.predict(outputs, targets, len(examples))
        if self.emits is OutputKind.RANKING:
            rows = rows_by_example(outputs.double().numpy(), targets["example"].numpy(), len(examples))
            return [{"vector": own[0]} for own in rows]
        if self.emits is OutputKind.SEQUENCE_VALUES:
            return [{"value": float(value)} for value in predictions]
        if self.emits is OutputKind.SEQUENCE_LOGITS:
            return self._labelled(self._shares(outputs, targets), predictions)
        if self.emits is OutputKind.LABEL_SET_LOGITS:
            return self._label_sets(outputs, predictions)
        if self.emits is OutputKind.VECTORS:
            return [{"vector": vector.tolist()} for vector in predictions]
        if self.emits is OutputKind.CHOICE_LOGITS:
            return self._chosen(outputs, targets["example"], predictions)
        if self.emits is OutputKind.SPAN_LOGITS:
            return self._answered(examples, outputs, targets, predictions)
        if self.emits is OutputKind.TAG_PAIR_LOGITS:
            return [{"tags": self._names(tags)} for tags in predictions]
        return self._tagged(outputs, targets["example"], targets["word"], predictions)

    def _answered(
        self, examples: Sequence[Encoded], outputs: Tensor, targets: Any, predictions: Sequence[np.ndarray]
    ) -> list[dict[str, Any]]:
        contexts = [example.values["answers"]["context"] for example in examples]

        def text(context: str, span: np.ndarray) -> str | None:
            return context[span[0] : span[1]] if span[0] >= 0 else None

        answers = [{"answer": text(c, span)} for c, span in zip(contexts, predictions, strict=True)]
        head = self.head.module
        if not isinstance(head, ListingHead):
            return answers
        listed = head.candidates(outputs, targets, len(examples), NUM_BEST)
        return [
            {**answer, "best": [{"answer": text(c, span), "probability": round(p, 4)} for span, p in found]}
            for answer, c, found in zip(answers, contexts, listed, strict=True)
        ]

    def _generated(
        self, examples: Sequence[Encoded], generators: Sequence[np.random.Generator]
    ) -> list[dict[str, Any]]:
        inputs = collate_inputs(examples, None, self.pad_id)
        head = self.head.module
        if self.head.tied:
            tensors = {"input_ids_BL": inputs.input_ids_BL, "segment_BL": inputs.segment_BL}
            prefix_B = inputs.mask_BL.sum(dim=1)
            continued = Continuation(self.encoder, head, tensors, prefix_B, self.room, self.kept)
            texts = head.write(continued, generators, _while_unfinished)
        else:
            hidden_BLD, _ = self.encoder(
                inputs.input_ids_BL, inputs.mask_BL, inputs.segment_BL, adapter=self.head.adapter
            )
            texts = head.generate(hidden_BLD, inputs.mask_BL, generators, _while_unfinished)
        others = [{} if isinstance(text, str) else {"others": text[1:]} for text in texts]
        return [{"generated": best_of(text), **more} for text, more in zip(texts, others, strict=True)]

    def _shares(self, outputs: Tensor, targets: Any) -> list[list[float]]:
        head = self.head.module
        if isinstance(head, DecidingHead):
            return [score_K.tolist() for score_K in head.scores(outputs, targets, len(outputs))]
        shares: list[list[float]] = torch.softmax(outputs.float(), dim=-1).tolist()
        return shares

    def _labelled(
        self, shares: Sequence[Sequence[float]], predictions: Sequence[int]
    ) -> list[dict[str, Any]]:
        return [
            {
                "label": self.labels[int(p)],
                "probabilities": {n: round(s, 4) for n, s in zip(self.labels, row, strict=True)},
            }
            for p, row in zip(predictions, shares, strict=True)
        ]

    def _label_sets(self, outputs: Tensor, predictions: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        shares = torch.sigmoid(outputs.float()).tolist()
        return [
            {
                "labels": [self.labels[int(label)] for label in chosen],
                "probabilities": {n: round(s, 4) for n, s in zip(self.labels, row, strict=True)},
            }
            for chosen, row in zip(predictions, shares, strict=True)
        ]

    def _chosen(
        self, outputs: Tensor, example_N: Tensor, predictions: Sequence[np.ndarray]
    ) -> list[dict[str, Any]]:
        logits = rows_by_example(outputs.double().numpy(), example_N.numpy(), len(predictions))
        return [
            {
                "choice": int(order[0]),
                "probabilities": np.exp(own - np.logaddexp.reduce(own)).round(4).tolist(),
            }
            for own, order in zip(logits, predictions, strict=True)
        ]

    def _tagged(
        self, outputs: Tensor, example_N: Tensor, word_N: Tensor, predictions: Sequence[np.ndarray]
    ) -> list[dict[str, Any]]:
        shares_N = torch.softmax(outputs.float(), dim=-1).amax(dim=-1)
        answers = []
        for index, tags in enumerate(predictions):
            # a word that truncation cut off has no probability
            probability: list[float | None] = [None] * len(tags)
            for row in torch.nonzero(example_N == index).flatten().tolist():
                probability[int(word_N[row])] = round(float(shares_N[row]), 4)
            answers.append({"tags": self._names(tags), "probability": probability})
        return answers

    def _names(self, tags: np.ndarray) -> list[str | None]:
        return [self.labels[int(t)] if t >= 0 else None for t in tags]


NUM_RANKED = 10


def _best(text: np.ndarray, candidates: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the candidates with the largest cosines."""
    unit = [one / max(float(np.linalg.norm(one)), 1e-12) for one in (text, *candidates.values())]
    cosine = np.stack(unit[1:]) @ unit[0]
    names = list(candidates)
    order = np.argsort(-cosine, kind="stable")[:NUM_RANKED]
    return [{"text": names[i], "cosine": round(float(cosine[i]), 4)} for i in order]


_NAMES = {
    FieldKind.TEXT: "text",
    FieldKind.TOKENS: "a list of words",
    FieldKind.TEXTS: "a list of texts, none of them empty",
    FieldKind.SPANS: "two spans of words, start: [i, j] and end: [k, l]",
}


def _while_unfinished(unfinished: bool) -> bool:
    return unfinished


def _is_of(kind: FieldKind, value: Any) -> bool:
    if kind is FieldKind.SPANS:
        return isinstance(value, dict) and all(
            isinstance(value.get(name), list) and len(value[name]) == 2 for name in ("start", "end")
        )
    if kind is FieldKind.TEXTS:
        return isinstance(value, list) and all(isinstance(text, str) and text.strip() for text in value)
    if kind is FieldKind.TOKENS:
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    return isinstance(value, str)
