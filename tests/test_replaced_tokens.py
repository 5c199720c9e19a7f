"""ELECTRA on a tiny encoder: what the generator puts in, and what is learned of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sslm_platform.errors import RunError, SpecError
from sslm_platform.evaluate import make_batch, rewritten
from sslm_platform.runs import load_run
from sslm_platform.train.model import build_model

RTD = {
    "name": "rtd",
    "fields": {"text": "text"},
    "objective": {"name": "rtd"},
    "head": {"name": "electra", "options": {"layers": 1, "heads": 2, "width": 16, "dropout": 0.0}},
    "metrics": ["matthews", "accuracy"],
}
T = "streams[0].tasks[0]"


def content(specs, **sections):
    made = specs.content("films", **sections)
    made["streams"][0]["tasks"] = [json.loads(json.dumps(RTD))]
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_specs, texts):
    from tests.conftest import run_cli

    folder = tmp_path_factory.mktemp("rtd")
    specs = make_specs(folder)
    made = content(specs, schedule={"tokens_per_batch": 512, "max_steps": 120}, optimizer={"lr": 5e-3})
    status, _, err = run_cli("train", specs.write(made), "--out", folder / "run", "--cache", texts / "cache")
    assert status == 0, err
    return folder / "run"


def losses(run):
    lines = map(json.loads, (run / "train" / "metrics.jsonl").read_text().splitlines())
    return [line["losses"]["rtd@film"] for line in lines if line["kind"] == "step"]


def test_replaced_tokens_are_told_from_original_ones(run):
    opened = load_run(run)
    (score,) = opened.evaluate("test")
    assert score.scores["matthews"].value > 0.3
    assert score.majority["matthews"].value == 0.0
    steps = losses(run)
    assert np.mean(steps[-10:]) < 0.8 * np.mean(steps[:10])


def test_there_is_nothing_to_predict_for_a_text(run):
    with pytest.raises(RunError, match="its objective makes texts and labels of its own"):
        load_run(run).predict(["the film was great"], "rtd@film")


@pytest.fixture
def opened(specs):
    corpus = specs.corpus(content(specs))
    (task,) = corpus.run.tasks.values()
    model = build_model(corpus, [task], seed=1)
    model.heads["rtd@film"].eval()
    return corpus, model, corpus.task_feed(task, 1).splits["train"]


def batch_of(opened, rows, epoch=0):
    corpus, model, split = opened
    batch = make_batch(split, np.array(rows), model.tasks, corpus.vocabulary.pad_id, 3, epoch)
    return batch, rewritten(batch, model.tasks)


def test_what_is_put_in_is_the_examples_own_whatever_the_batch_or_rank(opened):
    whole = batch_of(opened, range(12))[1].inputs["input_ids_BL"]
    for rows in ([3, 7, 1], [11], [5, 4, 3, 2, 1, 0]):
        part = batch_of(opened, rows)[1].inputs["input_ids_BL"]
        for own, row in zip(part, rows, strict=True):
            length = min(len(own), whole.shape[1])
            assert torch.equal(own[:length], whole[row, :length])
    assert not torch.equal(whole, batch_of(opened, range(12), epoch=1)[1].inputs["input_ids_BL"])


def test_labels_say_where_another_token_is(opened):
    _, _, split = opened
    given, done = batch_of(opened, range(40))
    targets = done.tasks["rtd@film"].targets
    original = split.encoded("rtd@film", range(40), ("original", "replaced"))
    rows = zip(*(targets[n].tolist() for n in ("example", "position", "labels")), strict=True)
    read_BL, special = done.inputs["input_ids_BL"], 0
    for example, position, label in rows:
        was = int(original[example].input_ids_L[position])
        assert label == int(read_BL[example, position] != was)
        special += bool(original[example].special_L[position])
    assert special == 0
    hidden = len(targets["hidden_ids"])
    assert 0 < int(targets["labels"].sum()) <= hidden
    assert len(targets["labels"]) == sum(int((~e.special_L).sum()) for e in original)
    assert hidden == sum(max(1, round(0.15 * int((~e.special_L).sum()))) for e in original)
    mask_id = 4
    shown = given.inputs["input_ids_BL"][targets["hidden_example"], targets["hidden_position"]] == mask_id
    assert abs(shown.float().mean() - 0.85) < 4 * np.sqrt(0.85 * 0.15 / hidden)


def test_drawn_tokens_have_the_generators_distribution(opened):
    """One hidden place, many draws: the inverse of the distribution function."""
    _, model, _ = opened
    head = model.heads["rtd@film"]
    num, ids_BL = 4000, torch.tensor([[2, 7, 4, 9, 3]])
    with torch.no_grad():
        head.generator.bias[:5] = 3.0  # a few likely tokens
        place = torch.tensor([0]), torch.tensor([2])
        share_V = head.generator(ids_BL, torch.ones_like(ids_BL), *place)[0].double().softmax(0).numpy()
        zeros, ids_RL = torch.zeros(num, dtype=torch.int64), ids_BL.repeat(num, 1)
        targets = {
            "hidden_example": torch.arange(num),
            "hidden_position": zeros + 2,
            "hidden_ids": zeros + 8,
            "draw": torch.from_numpy(np.random.default_rng(0).random(num)),
            "example": torch.arange(num),
            "position": zeros + 2,
        }
        drawn_RL, _ = head.rewrite(ids_RL, torch.ones_like(ids_RL), targets)
    found_V = np.bincount(drawn_RL[:, 2].numpy(), minlength=len(share_V)) / num
    assert np.abs(found_V - share_V).max() < 4.5 * np.sqrt(0.25 / num)
    assert np.abs(found_V - share_V)[:5].max() < 4.5 * np.sqrt(share_V[:5].max() / num)


def test_no_gradient_passes_through_the_drawing(opened):
    """The generator learns by its own loss alone: the detector's does not reach it."""
    _, model, _ = opened
    _, done = batch_of(opened, range(6))
    (task,) = model.tasks.values()
    part = done.tasks["rtd@film"]
    outputs_N2 = torch.randn(len(part.targets["labels"]), 2, requires_grad=True)
    without = {**part.targets, "generator_losses": part.targets["generator_losses"].detach()}
    detached = task.objective.losses(outputs_N2, without, 6).sum()
    whole = task.objective.losses(outputs_N2, part.targets, 6).sum()
    assert torch.equal(detached, whole)
    generator = list(task.head.module.generator.parameters())
    assert all(
        g is None for g in torch.autograd.grad(detached, generator, allow_unused=True, retain_graph=True)
    )
    assert any(float(g.abs().sum()) > 0 for g in torch.autograd.grad(whole, generator))


def test_the_loss_is_that_of_the_paper(opened):
    """Equation 3 on one text: the mean over hidden tokens, and 50 times the mean over all."""
    _, model, _ = opened
    _, done = batch_of(opened, [0])
    (task,) = model.tasks.values()
    part = done.tasks["rtd@film"]
    logits_N2 = torch.randn(len(part.targets["labels"]), 2)
    found = task.objective.losses(logits_N2, part.targets, 1) / part.weight_B
    probability_N = torch.softmax(logits_N2, 1)[:, 1]
    detection = torch.nn.functional.binary_cross_entropy(probability_N, part.targets["labels"].float())
    expected = part.targets["generator_losses"].mean() + 50 * detection
    torch.testing.assert_close(found, expected[None])


def test_generator_and_detection_go_together(specs):
    made = content(specs)
    task = made["streams"][0]["tasks"][0]

    def problems():
        with pytest.raises(SpecError) as caught:
            specs.resolve(made)
        return [str(problem).rpartition("spec.yaml: ")[2] for problem in caught.value.problems]

    task["head"] = {"name": "token_classifier"}
    assert problems() == [
        f"{T}.head.name: objective rtd needs one that puts other tokens in before the encoder reads them"
    ]
    task["head"] = {"name": "electra", "sharded": True}
    assert problems() == [
        f"{T}.head.sharded: electra is called before the encoder and after it, which may lose a gradient: set"
        " false"
    ]
