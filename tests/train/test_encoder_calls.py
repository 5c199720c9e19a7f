"""Several encoder calls for one batch: what is read, by whom, and that something is learned of it."""

import math

import numpy as np
import pytest
import torch

from sslm_platform.engine.local import LocalEngine
from sslm_platform.errors import SpecError
from sslm_platform.evaluate import make_batch
from sslm_platform.model.multitask import encode_inputs
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import build_model

OBJECTIVES = {
    "simcse": ({"name": "simcse"}, {}),
    "cpc": ({"name": "cpc", "options": {"segment_tokens": 3, "steps_ahead": 2}}, {"steps": 2}),
    "future": ({"name": "future_regression", "options": {"segment_tokens": 3}}, {"steps": 1}),
}


def spec_of(specs, *names, **sections):
    content = specs.content("films", **sections)
    content["streams"][0]["tasks"] = [
        {
            "name": name,
            "fields": {"text": "text"},
            "objective": dict(OBJECTIVES[name][0]),
            "head": {"name": "embedding", "options": OBJECTIVES[name][1]},
            "metrics": ["mean_loss"],
        }
        for name in names
    ]
    return content


def batch_of(corpus, rows, augment=False):
    model = build_model(corpus, list(corpus.run.tasks.values()), seed=1)
    feeds = corpus.feeds(list(corpus.run.tasks.values()), 3)
    (feed,) = feeds.values()
    augmentation = corpus.augmentations(feeds).get(feed.name) if augment else None
    return model, make_batch(
        feed.splits["train"], np.asarray(rows), model.tasks, 0, 3, 1, augmentation=augmentation
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_row_has_the_states_that_it_has_alone(specs, name):
    model, batch = batch_of(specs.corpus(spec_of(specs, name)), range(5))
    model.encoder.eval()
    with torch.no_grad():
        hidden_BLD, _ = encode_inputs(model.encoder, batch.inputs)
        for row, length in enumerate(batch.inputs["mask_BL"].sum(dim=1).tolist()):
            alone = {
                key: None if value is None or key == "lengths_CR" else value[row : row + 1]
                for key, value in batch.inputs.items()
            }
            expected, _ = encode_inputs(model.encoder, alone)
            torch.testing.assert_close(hidden_BLD[row, :length], expected[0, :length], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [[0, 1, 2], [0]])
def test_the_encoder_is_called_as_often_as_declared_also_where_a_call_has_no_rows(specs, rows):
    content = spec_of(specs, "cpc")
    content["streams"][0]["tasks"][0]["objective"]["options"]["segment_tokens"] = 9 if rows == [0] else 3
    model, batch = batch_of(specs.corpus(content), rows)
    calls = []

    def encode(*inputs):
        calls.append(tuple(inputs[0].shape))
        return model.encoder(*inputs)

    hidden_BLD, _ = encode_inputs(encode, batch.inputs)
    assert len(calls) == 2
    assert hidden_BLD.shape[:2] == batch.inputs["mask_BL"].shape
    hidden_BLD.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.encoder.parameters() if p.grad is not None)
    if rows == [0]:
        assert int(batch.inputs["lengths_CR"][1].sum()) == 0
        assert calls[1] == (1, 1)
    else:
        assert calls[1][1] < calls[0][1], "the second call is padded to its own longest row"


def test_two_readings_differ_by_dropout_alone(specs):
    model, batch = batch_of(specs.corpus(spec_of(specs, "simcse")), range(4))
    model.encoder.train()
    hidden_BLD, _ = encode_inputs(model.encoder, batch.inputs)
    ids_BL = batch.inputs["input_ids_BL"]
    assert torch.equal(ids_BL[0::2], ids_BL[1::2])
    assert not torch.allclose(hidden_BLD[0::2], hidden_BLD[1::2])


def test_changed_pairs_depend_on_the_example_alone(specs):
    content = spec_of(specs, "simcse")
    content["streams"][0]["augment"] = [{"name": "random_deletion", "probability": 1.0}]
    corpus = specs.corpus(content)
    _, whole = batch_of(corpus, range(12), augment=True)
    for row in (3, 7):
        _, alone = batch_of(corpus, [row], augment=True)
        assert np.array_equal(
            alone.tasks["simcse@film"].input_ids[0], whole.tasks["simcse@film"].input_ids[row]
        )
    pairs = [
        np.split(ids, window[1:])
        for ids, window in zip(
            whole.tasks["simcse@film"].input_ids, whole.tasks["simcse@film"].windows, strict=True
        )
    ]
    assert any(len(first) != len(second) for first, second in pairs)
    _, plain = batch_of(corpus, range(12))
    assert all(
        np.array_equal(ids[: window[1]], other[: other_window[1]])
        for ids, window, other, other_window in zip(
            whole.tasks["simcse@film"].input_ids,
            whole.tasks["simcse@film"].windows,
            plain.tasks["simcse@film"].input_ids,
            plain.tasks["simcse@film"].windows,
            strict=True,
        )
    ), "the first reading is of the text as it is"


def test_a_head_without_enough_predictors_is_refused(specs):
    content = spec_of(specs, "cpc")
    content["streams"][0]["tasks"][0]["head"]["options"] = {"steps": 1}
    with pytest.raises(
        SpecError, match=r"objective\.options\.steps_ahead: is 2, and the head has predictors for 1"
    ):
        specs.resolve(content)


def test_tokens_count_as_often_as_they_are_read(specs):
    corpus = specs.corpus(spec_of(specs, "simcse", "cpc"))
    feeds = corpus.feeds(list(corpus.run.tasks.values()), 3)
    split = next(iter(feeds.values())).splits["train"]
    ids = split.encoded("simcse@film", range(4), ())
    assert split.lengths_N[:4].tolist() == [2 * len(example.input_ids_L) for example in ids]


def test_noise_of_a_wrapper_is_of_each_reading(specs):
    content = spec_of(specs, "simcse")
    content["streams"][0]["tasks"][0]["objective"]["wrapper"] = {"name": "freelb", "options": {"steps": 2}}
    assert np.isfinite(losses_of(specs.corpus(content), 2)["simcse@film"]).all()


def records_of(corpus, steps):
    run = corpus.run.spec
    model = build_model(corpus, list(corpus.run.tasks.values()), seed=1)
    device = torch.device("cpu")
    engine = LocalEngine(
        EngineSpec(), run.optimizer, model.encoder, model.heads, device, corpus.run.gradients_of
    )
    training = plan_training(corpus, model, run.schedule, run.optimizer, 1, "test", max_steps=steps)
    return train_steps(training, engine, training.start())


def losses_of(corpus, steps):
    found = {task: [] for task in corpus.run.tasks}
    for record in records_of(corpus, steps):
        for task, loss in record.losses.items():
            found[task].append(loss)
    return found


@pytest.mark.parametrize("scope", ["last_layer", "all"])
def test_gradients_kept_apart_by_task_are_those_of_the_step(specs, scope):
    """Two calls are cut twice where the last layer's gradients are kept; their sum is the trunk's."""
    found = []
    for balancer in ({"name": "equal"}, {"name": "equal", "log_gradients_every": 1, "scope": scope}):
        content = spec_of(specs, "simcse", "cpc", balancer=balancer)
        content["schedule"] |= {"slots_per_step": 2, "sampler": {"name": "round_robin"}}
        found.append(next(iter(records_of(specs.corpus(content), 1))).gradient_norms)
    assert found[1] == pytest.approx(found[0], rel=1e-4)


DOCSTRINGS = {
    "name": "docstrings",
    "domain": "film",
    "data": {"source": "docstrings", "packages": ["numpy"], "min_words": 24},
    "split": {"by": "hash"},
}
SEGMENTS = {"segment_tokens": 8, "steps_ahead": 1}


def test_what_is_learned_of_real_text_is_far_from_chance(specs):
    """From scratch: chance is the log of how many candidates a batch has, and 1 + the spread's loss."""
    content = spec_of(specs, "simcse", "cpc", "future")
    content["encoder"] = content["encoder"] | {"max_length": 48}
    content["streams"] = [DOCSTRINGS | {"tasks": content["streams"][0]["tasks"]}]
    for task in content["streams"][0]["tasks"][1:]:
        task["objective"]["options"] = dict(SEGMENTS)
    sampler = {"name": "round_robin"}
    content["schedule"] = {"tokens_per_batch": 2048, "sampler": sampler, "max_steps": 90}
    content["optimizer"] = {"lr": 3e-3}
    losses = losses_of(specs.corpus(content), 90)
    assert np.mean(losses["simcse@film"][-5:]) < math.log(20) / 4
    assert np.mean(losses["cpc@film"][-5:]) < np.mean(losses["cpc@film"][:2]) - 0.3
    assert np.mean(losses["future@film"][-5:]) < np.mean(losses["future@film"][:2]) - 0.1
