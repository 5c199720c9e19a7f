"""Features are those of each example encoded alone, and no example is encoded twice."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sslm_platform.evaluate import make_batch
from sslm_platform.kinds import AttentionPattern
from sslm_platform.model.multitask import encode_inputs
from sslm_platform.train.model import add_heads, build_model
from sslm_platform.transfer.features import FeatureStore
from sslm_platform.transfer.heads import FittedHeads

CPU = torch.device("cpu")


@pytest.fixture
def store(corpus):
    built = build_model(corpus, list(corpus.run.tasks.values()), seed=1)
    return FeatureStore(corpus, built.encoder, CPU)


def model_of(store, identity):
    task = store.corpus.run.tasks[identity]
    return add_heads(store.corpus, store.encoder, [task], 1).tasks[identity]


def alone(store, model, split):
    """Each example in a batch of its own."""
    part = store.corpus.task_feed(model.task, 1).splits[split]
    found = []
    for row in range(len(part)):
        batch = make_batch(part, np.array([row]), {model.task.identity: model}, 0, 0, 0)
        with torch.no_grad():
            hidden_BLD, _ = encode_inputs(store.encoder, batch.inputs)
        targets = batch.tasks[model.task.identity].targets
        found.append(model.head.module.features(hidden_BLD, batch.inputs["mask_BL"], targets))
    return torch.cat(found)


@pytest.mark.parametrize("identity", ["sentiment@film", "rating@film", "names@news", "fits@quiz"])
@pytest.mark.parametrize("max_bytes", [1 << 30, 20_000, 0])
def test_features_are_those_of_each_example_alone(store, identity, max_bytes):
    store.max_bytes = max_bytes
    model = model_of(store, identity)
    store.encoder.eval()
    for _ in range(2):  # encoded, then from memory as far as there was room
        features = store.read(model, "train", 1)
        torch.testing.assert_close(features.rows, alone(store, model, "train"), atol=1e-5, rtol=1e-5)
    assert not features.rows.requires_grad


def test_states_of_another_attention_pattern_are_not_shared(specs, encoder_folder):
    """A causal objective with the classifier's head: what differs is what each token sees."""
    corpus = specs.corpus(specs.content("films", encoder=encoder_folder, limit={"train": 20}))
    run, name = corpus.run, "rating@film"
    objective = run.tasks[name].objective
    causal = replace(objective, definition=replace(objective.definition, attention=AttentionPattern.CAUSAL))
    corpus.run = replace(run, tasks={**run.tasks, name: replace(run.tasks[name], objective=causal)})
    store = FeatureStore(corpus, build_model(corpus, list(corpus.run.tasks.values()), 1).encoder, CPU)
    for identity in ("sentiment@film", name):
        model = model_of(store, identity)
        features = store.read(model, "train", 1)
        torch.testing.assert_close(features.rows, alone(store, model, "train"), atol=1e-5, rtol=1e-5)
    assert store.num_tokens == 2 * features.num_tokens


def test_tasks_that_read_the_same_input_share_its_states(store):
    first = store.read(model_of(store, "sentiment@film"), "train", 1)
    encoded = store.num_tokens
    assert encoded == first.num_tokens
    second = store.read(model_of(store, "rating@film"), "train", 1)
    assert store.num_tokens == encoded
    assert second.batch.targets["labels"].dtype.is_floating_point  # its own targets
    store.read(model_of(store, "sentiment@film"), "test", 1)
    assert store.num_tokens > encoded


def test_seeds_that_draw_other_examples_encode_their_union_once(specs, encoder_folder):
    content = specs.content("films", encoder=encoder_folder, limit={"train": 40})
    corpus = specs.corpus(content)
    task = corpus.run.tasks["sentiment@film"]
    store = FeatureStore(corpus, build_model(corpus, [task], 1).encoder, CPU)
    model = model_of(store, "sentiment@film")
    parts = [corpus.task_feed(task, seed).splits["train"] for seed in (1, 2, 3)]
    for seed, part in zip((1, 2, 3), parts, strict=True):
        features = store.read(model, "train", seed)
        assert features.num_examples == len(part) == 40
    lengths = {int(r): int(n) for p in parts for r, n in zip(p.rows_N, p.lengths_N, strict=True)}
    assert 40 < len(lengths) < 120
    assert store.num_tokens == sum(lengths.values())


def test_memory_is_bounded_and_the_last_read_stays(store):
    sizes = []
    for identity in ("sentiment@film", "sentiment@shop", "fits@quiz"):
        store.read(model_of(store, identity), "train", 1)
        sizes.append(store.num_tokens)
    store.max_bytes = store._num_bytes() - 1  # one byte too few for the three
    store.read(model_of(store, "names@news"), "train", 1)
    assert store._num_bytes() <= store.max_bytes
    before = store.num_tokens
    store.read(model_of(store, "names@news"), "train", 1)
    assert store.num_tokens == before
    store.read(model_of(store, "sentiment@film"), "train", 1)  # the first to be forgotten
    assert store.num_tokens > before


def fitted(store, folder):
    heads = FittedHeads(store, "encoder", folder)
    return heads.fit([model_of(store, "sentiment@film")], 1)


def test_a_fitted_head_is_kept_and_needs_no_encoding(store, tmp_path):
    first = fitted(store, tmp_path)
    again = FeatureStore(store.corpus, store.encoder, CPU)
    second = fitted(again, tmp_path)
    assert again.num_tokens == 0
    assert second.inverse_l2 == first.inverse_l2
    for name, value in first.head.state_dict().items():
        assert torch.equal(value, second.head.state_dict()[name])


def test_a_head_is_fitted_anew_for_another_encoder_or_seed(store, tmp_path):
    fitted(store, tmp_path)
    model = model_of(store, "sentiment@film")
    FittedHeads(store, "another", tmp_path).fit([model], 1)
    FittedHeads(store, "encoder", tmp_path).fit([model], 2)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


def test_a_damaged_head_is_fitted_again(store, tmp_path, caplog):
    first = fitted(store, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:50])
    second = fitted(store, tmp_path)
    assert "damaged" in caplog.text
    assert second.inverse_l2 == first.inverse_l2
    assert file.stat().st_size > 50
