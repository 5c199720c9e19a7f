"""Checks of heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from sslm_platform.interfaces import DecidingHead, Encoded
from sslm_platform.kinds import OutputKind
from sslm_platform.testing import data, elsewhere
from sslm_platform.testing.decision_checks import DECIDING_HEAD
from sslm_platform.testing.head_cases import HeadCase, build, examples_of, outputs_of, run
from sslm_platform.testing.written_on import WrittenOn


def check_features_have_no_parameters(case: HeadCase) -> None:
    """Features are the same whatever the weights, so that probes may cache them."""
    examples = examples_of(case)
    hidden_BLD, mask_BL = data.make_hidden(examples)
    targets = data.make_targets(case.kind, examples).targets
    rows = [build(case, seed).train().features(hidden_BLD, mask_BL, targets) for seed in (0, 1)]
    for first, second in zip(*map(_tensors, rows), strict=True):
        assert not first.requires_grad, "features() uses parameters; move them to forward()"
        assert torch.equal(first, second), "features() depends on weights or chance; move that to forward()"
    if case.kind.is_generated:
        return
    num_rows = len(targets["labels"])
    expected = f"features are {tuple(rows[0].shape)}, not ({num_rows}, width)"
    assert rows[0].ndim == 2, expected
    assert len(rows[0]) == num_rows, expected


def _tensors(features: Any) -> list[Tensor]:
    if isinstance(features, Tensor):
        return [features]
    parts = features.values() if isinstance(features, dict) else features
    return [
        tensor
        for part in parts
        if isinstance(part, Tensor | tuple | list | dict)
        for tensor in _tensors(part)
    ]


def check_output_shape(case: HeadCase) -> None:
    """Outputs have the shape of the kind that the definition emits, and are finite."""
    examples = examples_of(case)
    outputs = outputs_of(case, build(case).eval(), examples)
    num_rows = len(data.make_targets(case.kind, examples).targets["labels"])
    shape = data.shape_of(case.kind)
    if case.kind in data.VECTOR_KINDS and outputs.ndim == 2:
        shape = tuple(outputs.shape[1:])  # any
    expected = (num_rows, *shape)
    assert tuple(outputs.shape) == expected, f"{case.kind} are {expected}; got {tuple(outputs.shape)}"
    assert torch.isfinite(outputs).all(), "outputs are not finite"


def check_padding_is_not_read(case: HeadCase) -> None:
    """More padding, with other values in it, changes nothing."""
    examples, head = examples_of(case), build(case).eval()
    assert torch.allclose(
        outputs_of(case, head, examples), outputs_of(case, head, examples, padding=3), atol=1e-6
    ), "outputs depend on padding: use mask_BL"


def check_batch_is_not_read(case: HeadCase) -> None:
    """The first examples' outputs are the same without the others."""
    examples, head = examples_of(case), build(case).eval()
    whole, part = outputs_of(case, head, examples), outputs_of(case, head, examples[:2])
    assert torch.allclose(whole[: len(part)], part, atol=1e-6), "outputs depend on the rest of the batch"


def check_every_parameter_learns(case: HeadCase) -> None:
    """A gradient reaches every parameter, and the states."""
    examples, head = examples_of(case), build(case).eval()
    hidden_BLD, mask_BL = data.make_hidden(examples)
    hidden_BLD.requires_grad_()
    targets, extra = data.make_targets(case.kind, examples).targets, torch.zeros(())
    if case.definition.rewrites:
        _, targets = head.rewrite(inputs_of(examples), mask_BL, targets)
        extra = sum((t.sum() for t in targets.values() if t.requires_grad), start=extra)
    outputs = run(case, head, hidden_BLD, mask_BL, targets)
    generator = torch.Generator().manual_seed(3)
    (outputs * torch.randn(outputs.shape, generator=generator)).sum().add(extra).backward()
    for name, parameter in head.named_parameters():
        assert _learns(parameter), f"{name} gets no gradient"
    assert _learns(hidden_BLD), "the encoder gets no gradient"


def inputs_of(examples: Sequence[Encoded], padding: int = 0) -> Tensor:
    """Return the examples' ids, (B, L), padded."""
    ids_BL = torch.zeros(
        len(examples), padding + max(len(e.input_ids_L) for e in examples), dtype=torch.int64
    )
    for row, example in zip(ids_BL, examples, strict=True):
        row[: len(example.input_ids_L)] = torch.from_numpy(example.input_ids_L)
    return ids_BL


def check_rewrites_what_is_hidden(case: HeadCase) -> None:
    """Only hidden tokens are replaced, alike in any batch, and no gradient passes through."""
    examples, head = examples_of(case), build(case).eval()
    found = []
    for num, padding in ((len(examples), 0), (len(examples), 3), (2, 0)):
        _, mask_BL = data.make_hidden(examples[:num], padding)
        targets = data.make_targets(case.kind, examples[:num]).targets
        ids_BL, state = inputs_of(examples[:num], padding), torch.get_rng_state()
        new_BL, changed = head.rewrite(ids_BL, mask_BL, targets)
        assert torch.equal(state, torch.get_rng_state()), "rewrite() draws from torch's generator; use draw"
        assert new_BL.shape == ids_BL.shape, f"ids are {tuple(new_BL.shape)}, not {tuple(ids_BL.shape)}"
        assert targets.keys() <= changed.keys(), "rewrite() drops targets"
        others_BL = torch.ones_like(ids_BL, dtype=torch.bool)
        others_BL[targets["hidden_example"], targets["hidden_position"]] = False
        assert torch.equal(new_BL[others_BL], ids_BL[others_BL]), "a token that was not hidden is another"
        found.append([row[: len(e.input_ids_L)].tolist() for row, e in zip(new_BL, examples, strict=False)])
    assert found[0] == found[1], "what is put in depends on padding: use mask_BL"
    assert found[0][:2] == found[2], "what is put in depends on the rest of the batch"


def _learns(tensor: Tensor) -> bool:
    return tensor.grad is not None and bool(tensor.grad.abs().sum() > 0)


def check_eval_is_deterministic(case: HeadCase) -> None:
    """In eval mode the same states give the same outputs."""
    examples, head = examples_of(case), build(case).eval()
    first, second = outputs_of(case, head, examples), outputs_of(case, head, examples)
    assert torch.equal(first, second), "outputs change from call to call in eval mode"


def check_state_dict_round_trip(case: HeadCase) -> None:
    """A new head with the saved state gives the same outputs: the state dict is all there is."""
    examples, trained = examples_of(case), build(case, seed=1).eval()
    restored = build(case, seed=2).eval()
    restored.load_state_dict(load(save({k: v.contiguous() for k, v in trained.state_dict().items()})))
    assert torch.equal(outputs_of(case, trained, examples), outputs_of(case, restored, examples)), (
        "a restored head gives other outputs: keep all state in parameters and buffers"
    )


def check_predictions(case: HeadCase) -> None:
    """There is one prediction for each example, in the form that the kind names."""
    examples, head = examples_of(case), build(case).eval()
    targets = data.make_targets(case.kind, examples).targets
    with torch.no_grad():
        predictions = head.predict(outputs_of(case, head, examples), targets, len(examples))
    assert len(predictions) == len(examples), f"{len(predictions)} predictions of {len(examples)} examples"
    sizes = torch.bincount(targets["example"]).tolist() if "example" in targets else []
    for i, prediction in enumerate(predictions):
        if case.kind is OutputKind.SEQUENCE_LOGITS:
            assert type(prediction) is int, f"a prediction is an int; got {type(prediction).__name__}"
            assert 0 <= prediction < len(data.LABELS), f"{prediction} is no label's id"
        elif case.kind is OutputKind.SEQUENCE_VALUES:
            assert type(prediction) is float, f"a prediction is a float; got {type(prediction).__name__}"
        elif case.kind in data.SPAN_KINDS:
            _check_ids(prediction, 2)
        elif case.kind in data.RANKED_KINDS:
            number = sizes[i] - (case.kind is OutputKind.RANKING)  # the text itself is none
            _check_ids(prediction, number)
            assert sorted(prediction) == list(range(number)), (
                f"{prediction} is no order of {number} candidates"
            )
        elif case.kind in data.VECTOR_KINDS:
            assert isinstance(prediction, np.ndarray), "a prediction is its first row's vector, an array"
            assert np.issubdtype(prediction.dtype, np.floating), (
                f"a vector is of floats; got {prediction.dtype}"
            )
            assert prediction.ndim == 1 and len(prediction), f"a vector is (width,); got {prediction.shape}"  # noqa: PT018
        elif case.kind is OutputKind.LABEL_SET_LOGITS:
            _check_ids(prediction, np.size(prediction))
            assert set(prediction) <= set(range(len(data.LABELS))), f"{prediction} are no labels' ids"
            assert (np.diff(prediction) > 0).all(), f"{prediction} are not rising"
        else:
            words = case.kind in data.TAG_KINDS
            _check_ids(prediction, int(targets["num_words"][i]) if words else sizes[i])


def _check_ids(prediction: Any, size: int) -> None:
    assert isinstance(prediction, np.ndarray), f"expected an array; got {type(prediction).__name__}"
    assert np.issubdtype(prediction.dtype, np.integer), f"expected ids; got {prediction.dtype}"
    assert prediction.shape == (size,), f"expected ({size},), words cut off included; got {prediction.shape}"


def check_no_targets(case: HeadCase) -> None:
    """A batch whose only example has no target gives no rows, and a prediction without content."""
    examples = [data.make_empty_example(data.head_needs(case.kind, tied=case.definition.tied))]
    head = build(case).eval()
    outputs = outputs_of(case, head, examples)
    expected = (0, *data.shape_of(case.kind))
    assert tuple(outputs.shape) == expected, f"expected {expected}; got {tuple(outputs.shape)}"
    targets = data.make_targets(case.kind, examples).targets
    assert len(head.predict(outputs, targets, 1)) == 1, "an example without targets has a prediction too"


def check_windows_are_read(case: HeadCase) -> None:
    """States are read at ``row``, which is not the example's number where one before it has two windows."""
    examples, head = examples_of(case), build(case).eval()
    hidden_BLD, mask_BL = data.make_hidden(examples)
    targets = data.make_targets(case.kind, examples).targets
    moved = {**targets, "row": targets["row"] + 1}
    more = (torch.cat([hidden_BLD[-1:], hidden_BLD]), torch.cat([mask_BL[-1:], mask_BL]))
    assert torch.equal(run(case, head, hidden_BLD, mask_BL, targets), run(case, head, *more, moved)), (
        "states are not read at targets['row']"
    )


def generated(
    case: HeadCase, head: Any, examples: Sequence[Encoded], padding: int = 0, steps: int = 1000
) -> tuple[list[str], int]:
    """Generate texts in at most some steps; return them, and how often the head was called.

    States are large, so that what is read of them decides.
    """
    calls, asked = 0, 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    def goes_on(unfinished: bool) -> bool:
        nonlocal asked
        asked += 1
        return asked < steps

    hidden_BLD, mask_BL = data.make_hidden(examples, padding)
    generators = data.make_generators(len(examples))
    handle = head.register_forward_hook(count)
    with torch.no_grad():
        if case.definition.tied:
            texts = head.write(WrittenOn(head, 20 * hidden_BLD[:, 0]), generators, goes_on)
        else:
            texts = head.generate(20 * hidden_BLD, mask_BL, generators, goes_on)
    handle.remove()
    return texts, calls


def check_generates_texts(case: HeadCase) -> None:
    """There is one text for each example, from its own generator alone; weights stay as they are."""
    examples, head = examples_of(case), build(case).eval()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    state = torch.get_rng_state()
    texts, _ = generated(case, head, examples)
    assert torch.equal(state, torch.get_rng_state()), "generate() draws from torch's generator"
    assert len(texts) == len(examples), f"{len(texts)} texts of {len(examples)} examples"
    for text in (one for some in texts for one in (some if isinstance(some, list) else [some])):
        assert type(text) is str, f"a text is a str; got {type(text).__name__}"
    assert all(torch.equal(before[n], v) for n, v in head.state_dict().items()), "generate() changes weights"
    assert texts == generated(case, head, examples)[0], "the same generators give other texts"


def check_texts_depend_on_their_example_alone(case: HeadCase) -> None:
    """The first examples' texts are the same without the others, and with more padding."""
    examples, head = examples_of(case), build(case).eval()
    texts, _ = generated(case, head, examples)
    assert texts[:2] == generated(case, head, examples[:2])[0], "texts depend on the rest of the batch"
    assert texts == generated(case, head, examples, padding=3)[0], "texts depend on padding: use mask_BL"


def check_steps_are_agreed_on(case: HeadCase) -> None:
    """The head is called once for each step, and ``goes_on`` alone says whether there is another."""
    examples, head = examples_of(case), build(case).eval()
    for steps in (1, 3):
        _, calls = generated(case, head, examples, steps=steps)
        assert calls == steps, (
            f"the head was called {calls} times where goes_on allowed {steps}: ranks that generate different"
            " texts would not call a sharded module equally often"
        )


PREDICTING_HEAD = (check_predictions,)
GENERATING_HEAD = (
    check_generates_texts,
    check_texts_depend_on_their_example_alone,
    check_steps_are_agreed_on,
)


def check_device(case: HeadCase) -> None:
    """The head runs on the device that it and its inputs are on."""
    examples, head = examples_of(case), build(case).to(elsewhere.DEVICE)
    hidden_BLD, mask_BL = (tensor.to(elsewhere.DEVICE) for tensor in data.make_hidden(examples))
    targets = elsewhere.to_device(data.make_targets(case.kind, examples).targets)
    elsewhere.check_runs(lambda: run(case, head, hidden_BLD, mask_BL, targets).sum().backward())


ANY_HEAD = (
    check_features_have_no_parameters,
    check_output_shape,
    check_padding_is_not_read,
    check_batch_is_not_read,
    check_every_parameter_learns,
    check_eval_is_deterministic,
    check_state_dict_round_trip,
    check_device,
)


def head_checks(case: HeadCase) -> tuple[Any, ...]:
    """Return the checks that apply to a case."""
    if case.kind.is_generated:
        return ANY_HEAD + GENERATING_HEAD
    deciding = DECIDING_HEAD if isinstance(build(case), DecidingHead) else ()
    rows = (check_no_targets,) if case.kind in data.ROW_KINDS else ()
    windows = (check_windows_are_read,) if case.kind.has_tags and not case.definition.rewrites else ()
    rewriting = (check_rewrites_what_is_hidden,) if case.definition.rewrites else ()
    return ANY_HEAD + PREDICTING_HEAD + deciding + rows + windows + rewriting
