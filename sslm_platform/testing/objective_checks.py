"""Checks of objectives: what the platform's arithmetic counts on."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslm_platform.interfaces import Encoded, TaskBatch
from sslm_platform.kinds import AttentionPattern, FieldKind, OutputKind
from sslm_platform.testing import data, elsewhere
from sslm_platform.testing.objective_cases import ObjectiveCase, build, collate, examples_of, losses
from sslm_platform.testing.reading_checks import (
    check_candidates,
    check_encoder_calls,
    check_vector_rows,
    check_vectors_are_of_text,
    check_windows,
)


def check_needs_name_one_input(case: ObjectiveCase) -> None:
    """Either texts or words are read, or one instead of the other, and tags of words only with words."""
    fields = case.definition.needs[case.kind]
    kinds = [field.kind for field in fields.values()]
    inputs = {kind for kind in kinds if kind.is_input} - {FieldKind.SPANS, FieldKind.TEXTS}
    either = any(field.instead_of in fields for field in fields.values())
    assert len(inputs) == 1 + either, (
        f"needs exactly one kind of input, text or tokens (or one instead_of the other); got {sorted(inputs)}"
    )
    if FieldKind.TAGS in kinds or _is_of_words(case):
        assert inputs == {FieldKind.TOKENS}, "tags and logits of them need a field of kind tokens"


def check_weights(case: ObjectiveCase) -> None:
    """Weights are finite, not negative, one for each example, and not all zero."""
    examples = examples_of(case)
    weight_B = collate(build(case), examples, range(len(examples))).weight_B
    assert tuple(weight_B.shape) == (len(examples),), f"weight_B is {tuple(weight_B.shape)}"
    assert weight_B.is_floating_point(), f"weight_B is {weight_B.dtype}; it must be floating"
    assert torch.isfinite(weight_B).all(), "weight_B is not finite"
    assert (weight_B >= 0).all(), "weight_B is negative"
    assert weight_B.sum() > 0, "six ordinary examples weigh nothing"


def check_targets_convention(case: ObjectiveCase) -> None:
    """``labels`` and, of row kinds, ``example``, ``position`` and the words have the shapes agreed on."""
    examples = examples_of(case)
    targets = collate(build(case), examples, range(len(examples))).targets
    for name, value in targets.items():
        assert isinstance(value, Tensor), f"targets[{name!r}] is {type(value).__name__}, not a tensor"
    assert "labels" in targets, "targets have no 'labels'"
    if case.kind.is_generated:
        _check_texts(examples, targets)
        return
    if case.kind in data.SPAN_KINDS:
        return _check_rows(examples, targets)
    if case.kind in data.VECTOR_KINDS:
        return check_vector_rows(examples, collate(build(case), examples, range(len(examples))))
    if case.kind in data.CHOICE_KINDS:
        return check_candidates(examples, targets)
    if case.kind not in data.ROW_KINDS:
        assert len(targets["labels"]) == len(examples), "one label for each example"
        return
    _check_rows(examples, targets)
    if _is_of_words(case):
        _check_words(examples, targets)


def _is_of_words(case: ObjectiveCase) -> bool:
    """Whether rows are words; an objective that makes the labels itself may have one for each token."""
    return case.kind.has_tags and not case.definition.labels


def _check_rows(examples: Sequence[Encoded], targets: Any) -> None:
    for name in ("example", "position"):
        assert name in targets, f"targets of rows need {name!r}"
        assert targets[name].shape == targets["labels"].shape, f"{name} and labels differ in shape"
        assert targets[name].dtype == torch.int64, f"{name} is {targets[name].dtype}, not int64"
    lengths = torch.tensor([len(example.input_ids_L) for example in examples])
    assert (targets["position"] >= 0).all(), "a target's position is negative"
    assert (targets["position"] < lengths[targets["example"]]).all(), "a target is beyond its example"


def _check_texts(examples: Sequence[Encoded], targets: Any) -> None:
    for name in ("labels", "example", "position"):
        assert name in targets, f"targets of texts need {name!r}"
        assert targets[name].dtype == torch.int64, f"{name} is {targets[name].dtype}, not int64"
    sizes = torch.bincount(targets["example"], minlength=len(examples)).tolist()
    expected = [(i, position) for i, size in enumerate(sizes) for position in range(size)]
    found = list(zip(targets["example"].tolist(), targets["position"].tolist(), strict=True))
    assert found == expected, "a text's rows are its tokens in order, position 0 first"


def _check_words(examples: Sequence[Encoded], targets: Any) -> None:
    num_words = [len(e.word_start_W) for e in examples if e.word_start_W is not None]
    assert "num_words" in targets, "tags need targets['num_words']"
    assert targets["num_words"].tolist() == num_words, "num_words counts the words cut off too"
    rows = zip(*(targets[n].tolist() for n in ("example", "word", "position")), strict=True)
    for example, word, position in rows:
        starts_W = examples[example].word_start_W
        assert starts_W is not None, "make_examples gives word starts with tokens"
        assert starts_W[word] == position, "a row is not at its word's first token"


def check_word_windows(case: ObjectiveCase) -> None:
    """A word in an example's second window has a row of states of its own, where positions begin anew."""
    objective, example = build(case), examples_of(case)[0]
    generators, starts_W = data.make_generators(2), example.word_start_W
    assert starts_W is not None, "make_examples gives word starts with tokens"
    twice = replace(
        example,
        input_ids_L=np.tile(example.input_ids_L, 2),
        special_L=np.tile(example.special_L, 2),
        word_start_W=starts_W + len(example.input_ids_L),
        word_end_W=None if example.word_end_W is None else example.word_end_W + len(example.input_ids_L),
        window_S=np.array([0, len(example.input_ids_L)]),
    )
    alone = objective.collate([example], generators[:1]).targets
    after = objective.collate([twice, example], generators).targets
    rows = [[1] * len(alone["row"]), [2] * len(alone["row"])]
    for number, row in enumerate(rows):
        own = after["example"] == number
        assert after["row"][own].tolist() == row, "row does not count the windows of the examples before"
        for name in ("position", "word"):
            assert torch.equal(after[name][own], alone[name]), f"{name} counts from the first window"


def check_same_generators_same_batch(case: ObjectiveCase) -> None:
    """The generators are the only randomness, and nothing else draws from global ones."""
    objective, examples = build(case), examples_of(case)
    before = _global_states()
    first = collate(objective, examples, range(len(examples)))
    assert before == _global_states(), "collate draws from a global generator; use generators[i]"
    _assert_same(first, collate(objective, examples, range(len(examples))))


def check_examples_stay_unchanged(case: ObjectiveCase) -> None:
    """Examples are cached and shared between tasks: collate must not write into them."""
    examples = examples_of(case)
    original = copy.deepcopy(examples)
    collate(build(case), examples, range(len(examples)))
    for before, after in zip(original, examples, strict=True):
        assert np.array_equal(before.input_ids_L, after.input_ids_L), "collate wrote into input_ids_L"
        assert np.array_equal(before.special_L, after.special_L), "collate wrote into special_L"
        assert repr(before.values) == repr(after.values), "collate wrote into values"


def check_batch_order(case: ObjectiveCase) -> None:
    """A permuted batch has permuted weights and losses."""
    objective, examples = build(case), examples_of(case)
    keys, permuted = range(len(examples)), [3, 0, 5, 1, 4, 2]
    first, second = collate(objective, examples, keys), collate(objective, examples, permuted)
    assert torch.equal(first.weight_B[permuted], second.weight_B), "weights depend on the order"
    loss_B, moved_B = losses(case, objective, first, keys), losses(case, objective, second, permuted)
    assert torch.allclose(loss_B[permuted], moved_B, atol=1e-5), "losses depend on the order"


def check_additive(case: ObjectiveCase) -> None:
    """An example's loss and weight are the same alone and in a batch."""
    objective, examples = build(case), examples_of(case)
    keys = range(len(examples))
    batch = collate(objective, examples, keys)
    loss_B = losses(case, objective, batch, keys)
    for key in keys:
        alone = collate(objective, examples, [key])
        assert alone.weight_B[0] == batch.weight_B[key], "a weight depends on the rest of the batch"
        loss = losses(case, objective, alone, [key])[0]
        assert torch.allclose(loss, loss_B[key], atol=1e-5), (
            "a loss depends on the rest of the batch: correct it, or declare additive=False"
        )


def check_losses_shape(case: ObjectiveCase) -> None:
    """Losses are (B,), finite and floating."""
    objective, examples = build(case), examples_of(case)
    keys = range(len(examples))
    loss_B = losses(case, objective, collate(objective, examples, keys), keys)
    assert tuple(loss_B.shape) == (len(examples),), f"losses are {tuple(loss_B.shape)}, not (B,)"
    assert loss_B.is_floating_point(), f"losses are {loss_B.dtype}, not floats"
    assert torch.isfinite(loss_B).all(), "losses are not finite"


def check_losses_are_differentiable(case: ObjectiveCase) -> None:
    """Every example that weighs something sends a finite gradient to the outputs."""
    objective, examples = build(case), examples_of(case)
    keys = range(len(examples))
    batch = collate(objective, examples, keys)
    outputs = data.make_outputs(case.kind, batch.targets, keys).requires_grad_()
    loss_B = objective.losses(outputs, batch.targets, len(examples))
    assert loss_B.requires_grad, "losses have no gradient"
    (gradient,) = torch.autograd.grad(loss_B.sum(), outputs)
    assert torch.isfinite(gradient).all(), "a gradient is not finite"
    assert gradient.abs().sum() > 0, "the gradient is zero"


def check_losses_are_sums(case: ObjectiveCase) -> None:
    """Where nothing is known (all logits 0), every target of an example adds the same loss."""
    objective, examples = build(case), examples_of(case)
    batch = collate(objective, examples, range(len(examples)))
    outputs = torch.zeros_like(data.make_outputs(case.kind, batch.targets, range(len(examples))))
    loss_B = objective.losses(outputs, batch.targets, len(examples))
    ratio_B = loss_B[batch.weight_B > 0] / batch.weight_B[batch.weight_B > 0]
    assert torch.allclose(ratio_B, ratio_B[0].expand_as(ratio_B), rtol=1e-4), (
        f"losses are not sums over targets (loss / weight: {ratio_B.tolist()}); do not average in an example"
    )


def check_example_without_targets(case: ObjectiveCase) -> None:
    """An example of special tokens alone has weight 0 and loss 0, also when it is the whole batch."""
    objective = build(case)
    examples = [data.make_empty_example(case.definition.needs[case.kind])]
    batch = collate(objective, examples, [0])
    assert batch.weight_B.tolist() == [0.0], "an example without targets must weigh 0"
    loss_B = losses(case, objective, batch, [0])
    assert loss_B.tolist() == [0.0], "an example without targets must have loss 0"


def check_device(case: ObjectiveCase) -> None:
    """Losses are computed on the device that outputs and targets are on."""
    examples, objective = examples_of(case), build(case)
    targets = collate(objective, examples, range(len(examples))).targets
    outputs = data.make_outputs(case.kind, targets, range(len(examples)))
    there = (outputs.to(elsewhere.DEVICE), elsewhere.to_device(targets))
    elsewhere.check_runs(lambda: objective.losses(*there, len(examples)))


def check_changed_input(case: ObjectiveCase) -> None:
    """``changes_input`` is true exactly if ids are replaced; none are added, and special tokens stay."""
    examples = examples_of(case)
    batch = collate(build(case), examples, range(len(examples)))
    if not case.definition.changes_input:
        assert batch.input_ids is None, "input_ids are replaced: declare changes_input=True"
        return
    assert batch.input_ids is not None, "changes_input=True, but collate gives no input_ids"
    assert len(batch.input_ids) == len(examples), "one array of ids for each example"
    if batch.windows is not None:
        return check_windows(examples, batch)
    if batch.segments is not None:
        _check_segments(examples, batch.input_ids, batch.segments)
        return
    for example, ids_L in zip(examples, batch.input_ids, strict=True):
        assert ids_L.shape == example.input_ids_L.shape, "an example's length changed"
        special_L = example.special_L
        assert (ids_L[special_L] == example.input_ids_L[special_L]).all(), "a special token changed"


def _check_segments(
    examples: Sequence[Encoded], ids: Sequence[np.ndarray], segments: Sequence[np.ndarray]
) -> None:
    for example, ids_L, segment_L in zip(examples, ids, segments, strict=True):
        assert ids_L.shape == segment_L.shape, "segments are not as long as their input_ids"
        assert len(ids_L) <= len(example.input_ids_L), "an example got longer: its batch was planned without"
        special = example.input_ids_L[example.special_L]
        kept = all(np.count_nonzero(ids_L == i) >= np.count_nonzero(special == i) for i in set(special))
        assert kept, "a special token is gone"


def check_labels(case: ObjectiveCase) -> None:
    """Labels that the objective makes are ids of those that it names, and it makes all of them."""
    names = case.definition.labels
    if not names:
        return
    examples = data.make_examples(case.definition.needs[case.kind], 60, partners=case.definition.partners)
    labels_B = collate(build(case), examples, range(len(examples))).targets["labels"]
    assert set(labels_B.tolist()) == set(range(len(names))), f"labels are not the ids of {', '.join(names)}"


def check_special_tokens_are_no_targets(case: ObjectiveCase) -> None:
    """No target is a special token, but where texts are generated the one that ends them."""
    examples = examples_of(case)
    follows = case.definition.attention is not AttentionPattern.BIDIRECTIONAL
    targets = collate(build(case), examples, range(len(examples))).targets
    for example, position in zip(targets["example"].tolist(), targets["position"].tolist(), strict=True):
        special_L, place = examples[example].special_L, position + follows
        is_end = follows and place == len(special_L) - 1
        assert is_end or not special_L[place], "a special token is a target"


def check_prefix(case: ObjectiveCase) -> None:
    """``prefix_B`` is given exactly if the attention is ``prefix``: how many tokens, 1 or more, are seen."""
    examples = examples_of(case)
    prefix_B = collate(build(case), examples, range(len(examples))).prefix_B
    if case.definition.attention is not AttentionPattern.PREFIX:
        assert prefix_B is None, "prefix_B is given: declare attention=AttentionPattern.PREFIX"
        return
    assert prefix_B is not None, "attention is prefix, but collate gives no prefix_B"
    lengths = [len(example.input_ids_L) for example in examples]
    assert tuple(prefix_B.shape) == (len(examples),), f"prefix_B is {tuple(prefix_B.shape)}, not (B,)"
    assert all(1 <= p <= n for p, n in zip(prefix_B.tolist(), lengths, strict=True)), (
        f"prefix_B is {prefix_B.tolist()}; it must be 1 to the number of tokens, {lengths}"
    )


def check_targets_are_not_seen(case: ObjectiveCase) -> None:
    """What is to be generated is the token after ``position``, and no prefix shows it."""
    examples = examples_of(case)
    batch = collate(build(case), examples, range(len(examples)))
    prefixes = [1] * len(examples) if batch.prefix_B is None else batch.prefix_B.tolist()
    rows = (batch.targets[name].tolist() for name in ("example", "position", "labels"))
    for example, position, label in zip(*rows, strict=True):
        ids_L = examples[example].input_ids_L
        assert position + 1 < len(ids_L), "a row is at its example's last token, which nothing follows"
        assert ids_L[position + 1] == label, "a label is not the token after its position"
        assert position + 1 >= prefixes[example], "a target is inside the prefix, which shows it"


def _global_states() -> tuple[str, str, bytes]:
    return repr(random.getstate()), repr(np.random.get_state()), torch.get_rng_state().numpy().tobytes()


def _assert_same(first: TaskBatch, second: TaskBatch) -> None:
    message = "the same generators gave another batch"
    assert torch.equal(first.weight_B, second.weight_B), message
    assert first.targets.keys() == second.targets.keys(), message
    assert all(torch.equal(first.targets[name], second.targets[name]) for name in first.targets), message
    pairs = zip(first.input_ids or (), second.input_ids or (), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs), message


ANY_OBJECTIVE = (
    check_needs_name_one_input,
    check_weights,
    check_targets_convention,
    check_same_generators_same_batch,
    check_examples_stay_unchanged,
    check_batch_order,
    check_losses_shape,
    check_losses_are_differentiable,
    check_device,
    check_changed_input,
    check_prefix,
    check_labels,
    check_encoder_calls,
)
ADDITIVE_OBJECTIVE = (check_additive,)
ROW_OBJECTIVE = (check_losses_are_sums, check_example_without_targets, check_special_tokens_are_no_targets)
VECTOR_OBJECTIVE = (check_vectors_are_of_text, check_example_without_targets)
GENERATING_OBJECTIVE = (check_targets_are_not_seen,)


def objective_checks(case: ObjectiveCase) -> tuple[Any, ...]:
    """Return the checks that apply to a case."""
    additive = ADDITIVE_OBJECTIVE if case.definition.additive else ()
    if case.kind.is_generated:
        return (*ANY_OBJECTIVE, *additive, check_losses_are_sums)
    rows: tuple[Any, ...] = ROW_OBJECTIVE if case.kind in data.ROW_KINDS else ()
    rows = VECTOR_OBJECTIVE if case.kind is OutputKind.VECTORS else rows
    windows = (check_word_windows,) if _is_of_words(case) else ()
    follows = case.definition.attention is not AttentionPattern.BIDIRECTIONAL
    generating = GENERATING_OBJECTIVE if follows and case.kind is OutputKind.VOCABULARY_LOGITS else ()
    return ANY_OBJECTIVE + additive + rows + windows + generating
